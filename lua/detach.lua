-- Ends a session, if it is still the device's present one: a late close handler must not remove its successor.
--
-- KEYS  1 sessions  2 devices  3 inbox
-- ARGV  1 device  2 session id  3 dormant after ms
-- Reply 1 removed · 0 another session is there, or none
--- include ids
--- include clock
--- include trim
local sessions, devices, inbox = KEYS[1], KEYS[2], KEYS[3]
local value = redis.call('HGET', sessions, ARGV[1])
if not value or string.match(value, ' (%S+)$') ~= ARGV[2] then return 0 end
redis.call('HDEL', sessions, ARGV[1])
local now = now_ms()
local field = 'device:' .. ARGV[1]
local acked = string.match(redis.call('HGET', devices, field) or '', '^(%S+)')
if acked then
  local stamp = string.format('%d', now)
  redis.call('HSET', devices, field, acked .. ' ' .. stamp, 'seen', stamp)
  trim_acked(inbox, devices, redis.call('HGETALL', devices), now, tonumber(ARGV[3]))
end
return 1
