-- Add a record to the quarantine, or count one more run that quarantined it.
--
-- KEYS[1]  hash of the entry
-- KEYS[2]  list of its last runs
-- KEYS[3]  sorted set of all entries
-- KEYS[4]  total bytes of all entries
-- KEYS[5]  hash of the entries by record
-- ARGV[1]  id of the entry
-- ARGV[2]  digest of the run
-- ARGV[3]  limit of the total, in bytes
-- ARGV[4]  number of runs to remember
-- ARGV[5]  bytes that an entry takes beside its values
-- ARGV[6]  the record, as `<type>:<id>`; empty without a legible id
-- ARGV[7]  source
-- ARGV[8]  position, -1 if unknown
-- ARGV[9]… names and values of the other fields
--
-- Returns 1 if the run is counted, 0 if it was counted before, -1 if there is no space for a new entry.
local old_bytes = redis.call('HGET', KEYS[1], 'bytes')
if old_bytes and redis.call('LPOS', KEYS[2], ARGV[2]) then
  return 0
end

local source, position = ARGV[7], ARGV[8]
if old_bytes and position == '-1' then
  -- A call or a replay does not know the place in the dump.
  source, position = unpack(redis.call('HMGET', KEYS[1], 'source', 'position'))
end

local bytes = ARGV[5] + #source
for i = 10, #ARGV, 2 do
  bytes = bytes + #ARGV[i]
end
local growth = bytes - (old_bytes or 0)
local total = redis.call('GET', KEYS[4]) or 0
local is_full = growth > 0 and total + growth > tonumber(ARGV[3])
if is_full and not old_bytes then
  return -1
end
if not is_full then
  redis.call('HSET', KEYS[1], 'bytes', bytes, 'source', source, 'position', position, unpack(ARGV, 9))
  redis.call('INCRBY', KEYS[4], growth)
end

-- Counting takes no space, so it also works when the quarantine is full.
redis.call('HINCRBY', KEYS[1], 'attempts', 1)
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('HSET', KEYS[1], 'last', string.format('%.6f', now))
redis.call('ZADD', KEYS[3], 'NX', now, ARGV[1])
if not old_bytes and ARGV[6] ~= '' then
  local others = redis.call('HGET', KEYS[5], ARGV[6])
  redis.call('HSET', KEYS[5], ARGV[6], (others and others .. ' ' or '') .. ARGV[1])
end
return 1
