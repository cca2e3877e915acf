-- Raises the acked offsets of devices, many in one call, and trims what every live device of a user has acked. An ack may be
-- news for the user's other devices, which are told before it is stored. Most users have none: here that is known for certain,
-- in the step that stores.
--
-- KEYS  for each ack: devices, inbox; and sessions when it is untold
-- ARGV  1 dormant after ms  2 entries that an inbox keeps before acked ones are trimmed
--       3… for each ack: device, offset, and what else: 'untold' (the user's other devices have yet to be told), 'trim' (what
--       may have become many entries), 'untold trim' or ''
-- Reply number of acks that raised an offset, and then which ones (from 1) were not looked at: untold, and another device has a
--       session. A key of the wrong type, an unknown device and what is no offset are passed over (deliver.lua sets users
--       with broken keys aside)
--- include ids
--- include clock
--- include trim
local now = now_ms()
local stamp = string.format('%d', now)
local dormant_ms, keep = tonumber(ARGV[1]), tonumber(ARGV[2])
local reply, k = { 0 }, 1

local function has_other_session(sessions, device)
  for _, other in ipairs(redis.pcall('HKEYS', sessions)) do -- of the wrong type: an error, and no list
    if other ~= device then return true end
  end
  return false
end

local function raise(devices, inbox, device, offset, trim)
  local field = 'device:' .. device
  local known = redis.pcall('HGET', devices, field)
  local ms, n = split(offset)
  if type(known) == 'string' and ms then
    local known_ms, known_n = string.match(known, '^(%d+)-(%d+)')
    known_ms = tonumber(known_ms)
    if known_ms < ms or (known_ms == ms and tonumber(known_n) < n) then
      reply[1] = reply[1] + 1
      redis.call('HSET', devices, field, offset .. ' ' .. stamp, 'seen', stamp)
      local held = trim and redis.pcall('XLEN', inbox)
      if type(held) == 'number' and held > keep then
        trim_acked(inbox, devices, redis.call('HGETALL', devices), now, dormant_ms)
      end
    end
  end
end

for a = 3, #ARGV, 3 do
  local what = ARGV[a + 2]
  local untold = string.sub(what, 1, 6) == 'untold'
  if untold and has_other_session(KEYS[k + 2], ARGV[a]) then
    reply[#reply + 1] = a / 3
  else
    raise(KEYS[k], KEYS[k + 1], ARGV[a], ARGV[a + 1], string.sub(what, -4) == 'trim')
  end
  k = k + (untold and 3 or 2)
end
return reply
