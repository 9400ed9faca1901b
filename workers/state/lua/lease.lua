-- Renew or release a lease, if this process still holds it.
--
-- KEYS[1]  the lease
-- ARGV[1]  the token of this acquisition
-- ARGV[2]  milliseconds until the lease expires; 0 releases it
--
-- Returns 1, or 0 if the lease has expired or belongs to another process.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  return redis.call('DEL', KEYS[1])
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
