-- What a gateway asserts of its live sessions, now and then, after it reached another server and when the store forgot it:
-- puts back registrations and presence that were lost, renews what live sessions keep alive, finds what they missed. Many
-- sessions in one call.
--
-- KEYS  for each session: sessions, devices, inbox, cursor, presence, leaving, served by this gateway, gateways
-- ARGV  1 gateway  2 inbox TTL ms  3 dormant after ms  4… for each session: user, device, session id, the last offset that
--       it was sent, or told of a gap up to
-- Reply for each session 0 nothing was missing · 1 registration put back · 2 the device's session is another one ·
--       3 a key has the wrong type · 4 the device is not known any more, its acks would be passed over: attach again ·
--       5 a gap: something that the session has not been sent is gone, or its tail was lost (the inbox then goes on after
--       what the session has been sent, unless that is in the clock's future), or the device counted as away till now
--- include ids
--- include clock
--- include presence
local now, dormant_ms = now_ms(), tonumber(ARGV[3])
local gateway, stamp = ARGV[1], string.format('%d', now)

local function missed(inbox, reached, trimmed, floor)
  local info = redis.pcall('XINFO', 'STREAM', inbox)
  local gap = (trimmed and compare(trimmed, reached) > 0) or (floor and compare(floor, reached) > 0)
  if info.err then return gap end -- no inbox, or not one: the next attach or delivery makes it
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' and compare(info[i + 1], reached) < 0 then
      if split(reached) <= now then redis.call('XSETID', inbox, reached) end
      return true
    end
  end
  return gap
end

local replies = {}
for i = 1, #KEYS, 8 do
  local sessions, devices, inbox, cursor = KEYS[i], KEYS[i + 1], KEYS[i + 2], KEYS[i + 3]
  local at = 4 + (i - 1) / 2
  local user, device, session, reached = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local mine = gateway .. ' ' .. session
  local present = redis.pcall('HGET', sessions, device)
  local record = redis.pcall('HMGET', devices, 'device:' .. device, 'trimmed')
  local reply
  if type(present) == 'table' or record.err then
    reply = 3
  elseif present and present ~= mine then
    reply = 2
  else
    reply = not record[1] and 4 or present and 0 or 1
    if not present then redis.call('HSET', sessions, device, mine) end
    serve(KEYS[i + 4], KEYS[i + 5], KEYS[i + 6], KEYS[i + 7], gateway, user, device, session, stamp)
    if record[1] then
      local acked, seen = string.match(record[1], '^(%S+) (%d+)')
      redis.call('HSET', devices, 'device:' .. device, acked .. ' ' .. stamp, 'seen', stamp)
      local floor = redis.pcall('HGET', cursor, 'floor')
      local gap = missed(inbox, reached, record[2], type(floor) == 'string' and floor)
      -- A failover put back when the device was seen: for one that is away delivery keeps nothing.
      if gap or now - tonumber(seen) > dormant_ms then reply = 5 end
    end
    redis.pcall('PEXPIRE', inbox, ARGV[2])
  end
  replies[#replies + 1] = reply
end
return replies
