-- Take a batch out of flight and add its outcome to its run, once, however often it is delivered.
--
-- KEYS[1]  sorted set of the batches in flight
-- KEYS[2]  hash of the batch
-- KEYS[3]  lease of its body: a copy that still runs must not commit
-- KEYS[4]  hash of the run
-- ARGV[1]  the batch
-- ARGV[2]  seconds until the run expires
-- ARGV[3]  why the batch failed; empty for a batch that is written
-- ARGV[4]… names and numbers to add to the tally
local first = redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
if first == 0 then
  return
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[4], 'failed:' .. ARGV[1], ARGV[3])
end
for i = 4, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[4], ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[4], ARGV[2])
