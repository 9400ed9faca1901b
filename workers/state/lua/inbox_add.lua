-- Accept the records of one call, once.
--
-- KEYS[1]  the call
-- KEYS[2]  hash of the inbox
-- KEYS[3]  list of the call parts of the record type
-- KEYS[4]  sorted set of recent ids of the record type, with the time of their acceptance
-- ARGV[1]  record type
-- ARGV[2]  number of records
-- ARGV[3]  limit of the inbox, in bytes
-- ARGV[4]  seconds that calls and ids are remembered
-- ARGV[5]  number of ids that are remembered
-- ARGV[6]  1 if the message is redelivered, else 0
-- ARGV[7]  number of call parts
-- ARGV[8]… the packed call parts, then the ids of the records
--
-- Returns 1 if the call is accepted, 0 if it was accepted before, -1 if there is no space.
-- A redelivered message may be older than other calls. If these have brought some of its records, returns their ids
-- and accepts nothing.
local records, limit, seconds = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local last_part = 7 + ARGV[7]
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end

local bytes = 0
for i = 8, last_part do
  bytes = bytes + #ARGV[i]
end
local waiting = tonumber(redis.call('HGET', KEYS[2], 'bytes') or 0)
-- An empty inbox takes a call of any size.
if waiting > 0 and waiting + bytes > limit then
  return -1
end

local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[4], 0, now - seconds)
if ARGV[6] == '1' then
  local brought = {}
  for i = last_part + 1, #ARGV do
    if redis.call('ZSCORE', KEYS[4], ARGV[i]) then
      table.insert(brought, ARGV[i])
    end
  end
  if #brought > 0 then
    return brought
  end
end

for i = 8, last_part do
  redis.call('RPUSH', KEYS[3], ARGV[i])
end
for i = last_part + 1, #ARGV do
  redis.call('ZADD', KEYS[4], now, ARGV[i])
end
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - ARGV[5])
redis.call('EXPIRE', KEYS[4], seconds)
if records > 0 then
  redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
  if redis.call('HINCRBY', KEYS[2], ARGV[1] .. ':records', records) == records then
    redis.call('HSET', KEYS[2], ARGV[1] .. ':since', now)
  end
end
redis.call('SET', KEYS[1], 1, 'EX', seconds)
return 1
