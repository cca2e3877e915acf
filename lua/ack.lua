-- Raises the acked offsets of devices, many in one call, and trims what every live device of a user has acked.
--
-- KEYS  for each ack: devices, inbox
-- ARGV  1 dormant after ms  2 entries that an inbox keeps before acked ones are trimmed  3… for each ack: device, offset
-- Reply number of acks that raised an offset; a key of the wrong type, an unknown device and what is no offset are passed
--       over (deliver.lua sets users with broken keys aside)
--- include ids
--- include clock
--- include trim
local now = now_ms()
local stamp = string.format('%d', now)
local dormant_ms, keep = tonumber(ARGV[1]), tonumber(ARGV[2])
local raised = 0
for i = 1, #KEYS, 2 do
  local devices, inbox = KEYS[i], KEYS[i + 1]
  local field, offset = 'device:' .. ARGV[i + 2], ARGV[i + 3]
  local known = redis.pcall('HGET', devices, field)
  local ms, n = split(offset)
  if type(known) == 'string' and ms then
    local known_ms, known_n = string.match(known, '^(%d+)-(%d+)')
    known_ms = tonumber(known_ms)
    if known_ms < ms or (known_ms == ms and tonumber(known_n) < n) then
      raised = raised + 1
      redis.call('HSET', devices, field, offset .. ' ' .. stamp, 'seen', stamp)
      local held = redis.pcall('XLEN', inbox)
      if type(held) == 'number' and held > keep then
        trim_acked(inbox, devices, redis.call('HGETALL', devices), now, dormant_ms)
      end
    end
  end
end
return raised
