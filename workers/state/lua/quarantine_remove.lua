-- Remove an entry from the quarantine.
--
-- KEYS[1]  hash of the entry
-- KEYS[2]  list of its last runs
-- KEYS[3]  sorted set of all entries
-- KEYS[4]  total bytes of all entries
-- KEYS[5]  lease on the batch that has written the record (optional)
-- ARGV[1]  id of the entry
-- ARGV[2]  token of that lease
-- ARGV[3]  digest of the run that has written the record
--
-- With a lease, removes nothing if the lease is lost or the run has quarantined the record itself.
-- Returns the number of removed entries.
if KEYS[5] and (redis.call('GET', KEYS[5]) ~= ARGV[2] or redis.call('LPOS', KEYS[2], ARGV[3])) then
  return 0
end
local bytes = redis.call('HGET', KEYS[1], 'bytes')
if not bytes then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DECRBY', KEYS[4], bytes)
return 1
