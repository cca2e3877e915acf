-- Sessions that were sent something and have not acked it for long: a phone in a tunnel looks connected for a minute. What
-- they have not acked is queued for a wake-up, once. Many in one call.
--
-- KEYS  for each session: sessions, devices, inbox, push:{u}
-- ARGV  for each session: user, device, session id
-- Reply number of wake-ups queued; a device without a token, a session that is not the present one and keys of the wrong
--       type are passed over
--- include ids
--- include wakeups
--- include unacked
local queued = 0
for i = 1, #KEYS, 4 do
  local at = 3 * (i - 1) / 4
  local user, device, session = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local present = redis.pcall('HGET', KEYS[i], device)
  local token = redis.pcall('HEXISTS', KEYS[i + 1], 'push:' .. device)
  local held = redis.pcall('XLEN', KEYS[i + 2])
  if token == 1 and type(held) == 'number' and type(present) == 'string' and string.match(present, ' (%S+)$') == session then
    if queue_unacked(KEYS[i + 2], KEYS[i + 1], KEYS[i + 3], user, device, session) > 0 then queued = queued + 1 end
  end
end
return queued
