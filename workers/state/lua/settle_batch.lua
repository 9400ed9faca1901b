-- Take a batch out of flight and add its outcome to its run and its calls, once, however often it is delivered.
--
-- KEYS[1]  sorted set of the batches in flight
-- KEYS[2]  hash of the batch
-- KEYS[3]  lease of its body: a copy that still runs must not commit
-- KEYS[4]  hash of the run
-- KEYS[5]… hashes of the calls whose records it holds
-- ARGV[1]  the batch
-- ARGV[2]  seconds until the run expires
-- ARGV[3]  why the batch failed; empty for a batch that is written
-- ARGV[4]  seconds until a call expires of which no record waits
-- ARGV[5]… for each call the numbers of its written, superseded and refused records; then names and numbers to add to
--          the tally and the work of the run
local first = redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
if first == 0 then
  return
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[4], 'failed:' .. ARGV[1], ARGV[3])
end
local next = 5
for i = 5, #KEYS do
  -- A call that has expired stays forgotten.
  if redis.call('EXISTS', KEYS[i]) == 1 then
    local done = 0
    for place, outcome in ipairs({'written', 'superseded', 'refused'}) do
      local records = ARGV[next + place - 1]
      redis.call('HINCRBY', KEYS[i], outcome, records)
      done = done + records
    end
    if redis.call('HINCRBY', KEYS[i], 'waiting', 0 - done) <= 0 then
      redis.call('EXPIRE', KEYS[i], ARGV[4])
    end
  end
  next = next + 3
end
for i = next, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[4], ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[4], ARGV[2])
