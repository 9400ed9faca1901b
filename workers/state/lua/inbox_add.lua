-- Accept the records of one call, once.
--
-- KEYS[1]  hash of the calls with its task id
-- KEYS[2]  hash of the inbox
-- KEYS[3]  list of the call parts of the record type
-- KEYS[4]  sorted set of record ids of the type, each with the number of the newest call that brought it
-- KEYS[5]  sorted set of the calls that are seen and not accepted, by number
-- ARGV[1]  record type
-- ARGV[2]  number of records
-- ARGV[3]  limit of the inbox, in bytes
-- ARGV[4]  seconds that ids, calls that are only seen, and calls of which no record waits are remembered
-- ARGV[5]  seconds that a call is remembered while records wait
-- ARGV[6]  number of ids that are remembered
-- ARGV[7]  hash of the content of the call
-- ARGV[8]  the number of the call
-- ARGV[9]  number of its records that are left out, since newer calls brought them
-- ARGV[10] number of its records that are refused
-- ARGV[11] number of call parts
-- ARGV[12]… the packed call parts, then the ids of the records
--
-- Returns 'accepted', the number of accepted records and that of records left out, also if the call was accepted
-- before; or 'full'; or 'superseded' and the ids that newer calls have brought: nothing is accepted yet.
local records, hash, number, first_part = tonumber(ARGV[2]), ARGV[7], ARGV[8], 12
local last_part = first_part + ARGV[11] - 1
local accepted, left_out = unpack(redis.call('HMGET', KEYS[1], 'accepted:' .. hash, 'superseded:' .. hash))
if accepted then
  return {'accepted', accepted, left_out}
end

local superseded = {'superseded'}
for i = last_part + 1, #ARGV do
  local newest = redis.call('ZSCORE', KEYS[4], ARGV[i])
  if newest and tonumber(newest) > tonumber(number) then
    table.insert(superseded, ARGV[i])
  end
end
if #superseded > 1 then
  return superseded
end

local bytes = 0
for i = first_part, last_part do
  bytes = bytes + #ARGV[i]
end
local waiting = tonumber(redis.call('HGET', KEYS[2], 'bytes') or 0)
-- An empty inbox takes a call of any size.
if waiting > 0 and waiting + bytes > tonumber(ARGV[3]) then
  return {'full'}
end

for i = first_part, last_part do
  redis.call('RPUSH', KEYS[3], ARGV[i])
end
local time = redis.call('TIME')
redis.call('ZREM', KEYS[5], KEYS[1] .. ' ' .. hash)
redis.call('ZREMRANGEBYSCORE', KEYS[5], 0, string.format('%.0f', (time[1] - ARGV[4]) * 1000000))
local oldest = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]
if oldest then
  -- Only an older call that is still to be accepted asks for these numbers.
  for i = last_part + 1, #ARGV do
    redis.call('ZADD', KEYS[4], number, ARGV[i])
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[4], 0, oldest)
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - ARGV[6])
  redis.call('EXPIRE', KEYS[4], ARGV[4])
else
  redis.call('UNLINK', KEYS[4])
end
if records > 0 then
  redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
  if redis.call('HINCRBY', KEYS[2], ARGV[1] .. ':records', records) == records then
    redis.call('HSET', KEYS[2], ARGV[1] .. ':since', time[1] + time[2] / 1000000)
  end
end
redis.call('HSET', KEYS[1], 'number:' .. hash, number, 'accepted:' .. hash, records, 'superseded:' .. hash, ARGV[9])
redis.call('HINCRBY', KEYS[1], 'superseded', ARGV[9])
redis.call('HINCRBY', KEYS[1], 'refused', ARGV[10])
local waits = redis.call('HINCRBY', KEYS[1], 'waiting', records) > 0
redis.call('EXPIRE', KEYS[1], waits and ARGV[5] or ARGV[4])
return {'accepted', records, ARGV[9]}
