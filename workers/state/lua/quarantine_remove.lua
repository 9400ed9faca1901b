-- Remove an entry from the quarantine.
--
-- KEYS[1]  hash of the entry
-- KEYS[2]  list of its last runs
-- KEYS[3]  sorted set of all entries
-- KEYS[4]  total bytes of all entries
-- KEYS[5]  hash of the entries by record
-- KEYS[6]  lease on the batch that has written the record (optional)
-- ARGV[1]  id of the entry
-- ARGV[2]  remove it only if it was quarantined before this time, in Redis's Unix seconds; empty: at any time
-- ARGV[3]  token of that lease
-- ARGV[4]  digest of the run that has written the record
--
-- With a lease, removes nothing if the lease is lost or the run has quarantined the record itself.
-- Returns the number of removed entries.
if KEYS[6] and (redis.call('GET', KEYS[6]) ~= ARGV[3] or redis.call('LPOS', KEYS[2], ARGV[4])) then
  return 0
end
local bytes, last, type, id = unpack(redis.call('HMGET', KEYS[1], 'bytes', 'last', 'record_type', 'record_id'))
if not bytes or (ARGV[2] ~= '' and tonumber(last) >= tonumber(ARGV[2])) then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DECRBY', KEYS[4], bytes)
local others = {}
for other in (redis.call('HGET', KEYS[5], type .. ':' .. id) or ''):gmatch('%S+') do
  if other ~= ARGV[1] then
    table.insert(others, other)
  end
end
if #others > 0 then
  redis.call('HSET', KEYS[5], type .. ':' .. id, table.concat(others, ' '))
else
  redis.call('HDEL', KEYS[5], type .. ':' .. id)
end
return 1
