-- Give a call its number in the order of acceptance, when it is first seen.
--
-- KEYS[1]  hash of the calls with its task id
-- KEYS[2]  hash of the inbox
-- KEYS[3]  sorted set of the calls that are seen and not accepted, by number
-- ARGV[1]  hash of its content
-- ARGV[2]  seconds that a call is remembered while it is not accepted
--
-- Returns the number: the time in microseconds, or one more than the last number if that is later.
local field = 'number:' .. ARGV[1]
local number = redis.call('HGET', KEYS[1], field)
if number then
  return tonumber(number)
end
local time = redis.call('TIME')
number = math.max(time[1] * 1000000 + time[2], (redis.call('HGET', KEYS[2], 'number') or 0) + 1)
local text = string.format('%.0f', number)
redis.call('HSET', KEYS[2], 'number', text)
redis.call('HSET', KEYS[1], field, text)
redis.call('ZADD', KEYS[3], text, KEYS[1] .. ' ' .. ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return number
