-- Looks once more at a user's queued wake-ups, just before they are sent.
--
-- KEYS  1 devices  2 sessions
-- ARGV  for each wake-up: offset  after or ''  session or ''  number of devices  the devices
-- Reply for each wake-up, for each of its devices, in their order:
--         'acked': some device of the user has the messages · 'gone': the device has no token any more ·
--         'live': the device is back, under another session than the wake-up's; should that one not ack either, it is
--         queued again ('pushed' is taken back) · else `<platform> <token>`: wake it
--- include ids
local devices, sessions = KEYS[1], KEYS[2]
local all = redis.call('HGETALL', devices)
local live = redis.call('HGETALL', sessions)
local record, present, acked = {}, {}, '0-0'
for i = 1, #all, 2 do
  record[all[i]] = all[i + 1]
  if string.sub(all[i], 1, 7) == 'device:' then acked = max_id(acked, string.match(all[i + 1], '^%S+')) end
end
for i = 1, #live, 2 do present[live[i]] = string.match(live[i + 1], ' (%S+)$') end

local verdicts, back, i = {}, {}, 1
while i <= #ARGV do
  local offset, after, session, count = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  for d = i + 4, i + 3 + count do
    local device, verdict = ARGV[d], nil
    if compare(acked, offset) >= 0 then
      verdict = 'acked'
    elseif not record['push:' .. device] then
      verdict = 'gone'
    elseif present[device] and present[device] ~= session then
      verdict = 'live'
      local from = after ~= '' and after or below(offset)
      if not back[device] or compare(from, back[device]) < 0 then back[device] = from end
    else
      verdict = record['push:' .. device]
    end
    verdicts[#verdicts + 1] = verdict
  end
  i = i + 4 + count
end
for device, from in pairs(back) do
  local pushed = record['pushed:' .. device]
  if pushed and compare(pushed, from) > 0 then redis.call('HSET', devices, 'pushed:' .. device, from) end
end
return verdicts
