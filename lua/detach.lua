-- Ends a session, if it is still the device's present one: a late close handler must not remove its successor.
--
-- KEYS  1 sessions  2 devices  3 inbox
-- ARGV  1 device  2 session id  3 dormant after ms
-- Reply 1 removed · 0 another session is there, or none. Broken devices or a broken inbox do not keep a session alive
--- include ids
--- include clock
--- include trim
local sessions, devices, inbox = KEYS[1], KEYS[2], KEYS[3]
local value = redis.call('HGET', sessions, ARGV[1])
if not value or string.match(value, ' (%S+)$') ~= ARGV[2] then return 0 end
local now = now_ms()
local field = 'device:' .. ARGV[1]
local known = redis.pcall('HGET', devices, field)
local held = redis.pcall('XLEN', inbox)

redis.call('HDEL', sessions, ARGV[1])
if type(known) ~= 'string' then return 1 end
local stamp = string.format('%d', now)
redis.call('HSET', devices, field, string.match(known, '^%S+') .. ' ' .. stamp, 'seen', stamp)
if type(held) == 'number' and held > 0 then
  trim_acked(inbox, devices, redis.call('HGETALL', devices), now, tonumber(ARGV[3]))
end
return 1
