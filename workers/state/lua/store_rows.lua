-- Store the rows of one chunk of a batch that is still in flight. A late redelivery stores nothing.
--
-- KEYS[1]  hash of the batch
-- ARGV[1]  field of the rows
-- ARGV[2]  the rows, packed
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
