-- Accept the records of one call, once.
--
-- KEYS[1]  hash of the call
-- KEYS[2]  hash of the inbox
-- KEYS[3]  list of the call parts of the record type
-- KEYS[4]  sorted set of record ids of the type, each with the number of the newest call that brought it
-- ARGV[1]  record type
-- ARGV[2]  number of records
-- ARGV[3]  limit of the inbox, in bytes
-- ARGV[4]  seconds that calls and ids are remembered
-- ARGV[5]  number of ids that are remembered
-- ARGV[6]  the number of the call
-- ARGV[7]  number of records of the call that are left out, since newer calls brought them
-- ARGV[8]  number of call parts
-- ARGV[9]… the packed call parts, then the ids of the records
--
-- Returns 'accepted', the number of accepted records and that of records left out, also if the call was accepted
-- before; or 'full'; or 'superseded' and the ids that newer calls have brought: nothing is accepted yet.
local number, records, last_part = ARGV[6], tonumber(ARGV[2]), 8 + ARGV[8]
local accepted, left_out = unpack(redis.call('HMGET', KEYS[1], 'accepted', 'superseded'))
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
for i = 9, last_part do
  bytes = bytes + #ARGV[i]
end
local waiting = tonumber(redis.call('HGET', KEYS[2], 'bytes') or 0)
-- An empty inbox takes a call of any size.
if waiting > 0 and waiting + bytes > tonumber(ARGV[3]) then
  return {'full'}
end

for i = 9, last_part do
  redis.call('RPUSH', KEYS[3], ARGV[i])
end
for i = last_part + 1, #ARGV do
  redis.call('ZADD', KEYS[4], number, ARGV[i])
end
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[4], 0, string.format('%.0f', (time[1] - ARGV[4]) * 1000000))
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - ARGV[5])
redis.call('EXPIRE', KEYS[4], ARGV[4])
if records > 0 then
  redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
  if redis.call('HINCRBY', KEYS[2], ARGV[1] .. ':records', records) == records then
    redis.call('HSET', KEYS[2], ARGV[1] .. ':since', time[1] + time[2] / 1000000)
  end
end
redis.call('HSET', KEYS[1], 'number', number, 'accepted', records, 'superseded', ARGV[7])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {'accepted', records, ARGV[7]}
