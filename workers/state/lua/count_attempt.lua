-- Count an attempt at work that still exists.
--
-- KEYS[1]  hash of the batch or of the exclusive task
-- KEYS[2]  sorted set of the batches in flight (batches only)
-- ARGV[1]  field of the counter
-- ARGV[2]  1 when an attempt starts, -1 when its process has survived it
-- ARGV[3]  the batch (batches only)
--
-- Returns the number of attempts that have not been survived, this one included; 0 if the work is done.
-- An attempt is a sign of life: the batch is not overdue. Redis's own clock counts, which all machines share.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if KEYS[2] then
  redis.call('ZADD', KEYS[2], 'XX', redis.call('TIME')[1], ARGV[3])
end
return redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
