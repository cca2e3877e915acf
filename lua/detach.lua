-- Ends a session, if it is still the device's present one: a late close handler must not remove its successor. With the
-- user's last session the grace begins after which settle.lua has them offline. Messages that the device has not acked are
-- queued for a wake-up, if it has a push token.
--
-- KEYS  1 sessions  2 devices  3 inbox  4 leaving  5 served by the session's gateway  6 that gateway's lease  7 push:{u}
-- ARGV  1 device  2 session id  3 dormant after ms  4 user  5 '' it ends now, says its gateway · or ms when it ended at the
--       latest, says the reaper: refused when the gateway has a lease after all
-- Reply 1 removed · 0 another session is there, or none · -1 refused. Broken devices, a broken inbox or a broken `leaving`
--       do not keep a session alive
--- include ids
--- include clock
--- include trim
--- include wakeups
--- include unacked
local sessions, devices, inbox, leaving, served = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local device, session, user = ARGV[1], ARGV[2], ARGV[4]
if ARGV[5] ~= '' and redis.call('EXISTS', KEYS[6]) == 1 then return -1 end
local mine = user .. ' ' .. device .. ' ' .. session
local value = redis.call('HGET', sessions, device)
if not value or string.match(value, ' (%S+)$') ~= session then
  redis.pcall('SREM', served, mine)
  return 0
end
local now = now_ms()
local ended = math.min(now, tonumber(ARGV[5]) or now)
local field = 'device:' .. device
local known = redis.pcall('HMGET', devices, field, 'seen')
local held = redis.pcall('XLEN', inbox)
local last = redis.call('HLEN', sessions) == 1
local seen = ended
if not known.err and known[2] then seen = math.max(ended, tonumber(known[2])) end

redis.call('HDEL', sessions, device)
redis.pcall('SREM', served, mine)
-- By what was heard of the user meanwhile, the reaper's time may be too early.
if last then redis.pcall('ZADD', leaving, string.format('%d', seen), user) end
if known.err or not known[1] then return 1 end
local acked, heard = string.match(known[1], '^(%S+) (%d+)')
redis.call('HSET', devices, field, acked .. ' ' .. string.format('%d', math.max(ended, tonumber(heard))),
  'seen', string.format('%d', seen))
if type(held) == 'number' and held > 0 then
  queue_unacked(inbox, devices, KEYS[7], user, device, '')
  trim_acked(inbox, devices, redis.call('HGETALL', devices), now, tonumber(ARGV[3]))
end
return 1
