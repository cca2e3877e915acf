-- Puts back registrations that a failover lost, renews what live sessions keep alive; many sessions in one call.
--
-- KEYS  for each session: sessions, devices, inbox
-- ARGV  1 gateway  2 inbox TTL ms  3… for each session: device, session id
-- Reply for each session 0 nothing was missing · 1 put back · 2 the device's session is another one now · 3 a key has
--       the wrong type · 4 the device is not known any more, its acks would be passed over: it has to attach again
--- include clock
local gateway, stamp = ARGV[1], string.format('%d', now_ms())
local replies = {}
for i = 1, #KEYS, 3 do
  local sessions, devices, inbox = KEYS[i], KEYS[i + 1], KEYS[i + 2]
  local at = (i - 1) / 3
  local device, mine = ARGV[3 + 2 * at], gateway .. ' ' .. ARGV[4 + 2 * at]
  local present = redis.pcall('HGET', sessions, device)
  local record = redis.pcall('HGET', devices, 'device:' .. device)
  if type(present) == 'table' or type(record) == 'table' then
    replies[at + 1] = 3
  elseif present and present ~= mine then
    replies[at + 1] = 2
  else
    replies[at + 1] = not record and 4 or present and 0 or 1
    if not present then redis.call('HSET', sessions, device, mine) end
    if record then
      redis.call('HSET', devices, 'device:' .. device, string.match(record, '^(%S+)') .. ' ' .. stamp, 'seen', stamp)
    end
    redis.pcall('PEXPIRE', inbox, ARGV[2])
  end
end
return replies
