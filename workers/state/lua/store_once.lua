-- Store a result of a batch that is still in flight. The first one counts; a late redelivery stores nothing.
--
-- KEYS[1]  hash of the batch
-- ARGV[1]  field of the result
-- ARGV[2]  the result, packed
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
end
