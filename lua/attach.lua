-- Registers a device's session and tells from which offset it reads; its user is online from now on. The same session
-- again changes nothing else.
--
-- KEYS  1 inbox  2 devices  3 sessions  4 cursor  5 presence  6 leaving  7 served by this gateway  8 gateways
--       9 erasure  10 born  11 unsaved
-- ARGV  1 device  2 session id  3 gateway  4 since or ''  5 most sessions at once  6 inbox TTL ms  7 dormant after ms
--       8 bell prefix `bell:{u}:`  9 entries a bell may hold  10 user  11 most known devices
-- Reply {'ok', position, end of the inbox, first hello 0|1, gap 0|1, oldest offset or '', replaced gateway or '',
--        replaced session or '', acked offset as stored, came online 0|1, 1 when the user's conversation list, or its end,
--        may be lost} · {'too_many'} · {'erasing'}. A `since` beyond what the device had acked counts as an ack, but is not
--        stored as one here: what it covers becomes receipts first, see ack.lua
--- include ids
--- include clock
--- include unsaved
--- include devices
--- include presence
local inbox, devices, sessions, cursor = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local device, session, gateway, since = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now, ttl_ms = now_ms(), tonumber(ARGV[6])
if since ~= '' and not split(since) then return redis.error_reply('ERR since is not an offset') end

if redis.call('HGET', KEYS[9], 'state') == 'running' then return { 'erasing' } end
local all = redis.call('HGETALL', sessions)
local others, replaced_gateway, replaced_session = 0, '', ''
for i = 1, #all, 2 do
  if all[i] == device then
    replaced_gateway, replaced_session = string.match(all[i + 1], '^(%S+) (%S+)$')
  else
    others = others + 1
  end
end
if replaced_session == session then replaced_gateway, replaced_session = '', '' end
if others >= tonumber(ARGV[5]) then return { 'too_many' } end

local record = redis.call('HMGET', devices, 'trimmed', 'device:' .. device, 'broken', 'restored', 'floor')
local trimmed = record[1]
local floor = redis.call('HGET', cursor, 'floor')
if redis.call('EXISTS', inbox) == 0 then
  -- A stream needs one entry to exist; whoever finds none adds and trims one.
  local id = redis.call('XADD', inbox, '*', 'type', 'none')
  redis.call('XTRIM', inbox, 'MAXLEN', 0)
  trimmed = max_id(trimmed or '0-0', below(id))
end
local info = redis.call('XINFO', 'STREAM', inbox)
local tail
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then tail = info[i + 1] end
end
trimmed = trimmed or above(tail) -- `devices` was lost: what was left out since can no longer be told
if floor then trimmed = max_id(trimmed, floor) end
local oldest = redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
local expired = string.format('%d-0', now - ttl_ms)
if oldest and compare(oldest[1], expired) < 0 then
  redis.call('XTRIM', inbox, 'MINID', expired)
  trimmed = max_id(trimmed, below(expired))
  oldest = redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
end
if compare(trimmed, tail) > 0 then
  -- A dormant user's mark, a floor, or a tail lost in a failover: later entries must get later ids.
  redis.call('XSETID', inbox, trimmed)
  tail = trimmed
end

local acked, seen
if record[2] then acked, seen = string.match(record[2], '^(%S+) (%d+)') end
local position = since ~= '' and since or acked or tail
local known_position = since ~= '' or acked
local may_be_lost = redis.call('EXISTS', KEYS[10]) == 0
-- While the device was not known no copy of its user's own messages was kept for it.
local gap = compare(position, trimmed) < 0 or (known_position and record[3]) or (since ~= '' and not record[2])
  or (seen ~= nil and now - tonumber(seen) > tonumber(ARGV[7]))
  or (may_be_lost and not known_position) -- a device that was known, for all that anybody can tell
if compare(position, tail) > 0 then
  gap = true
  if split(position) <= now then
    redis.call('XSETID', inbox, position)
    tail = position
  else
    position = tail
  end
end

local list_lost = (may_be_lost and not record[4]) or (floor and compare(record[5] or '0-0', floor) < 0)

if not record[2] then make_room(devices, all, device, tonumber(ARGV[11]), KEYS[11], ARGV[10]) end
local stored = (acked and compare(acked, tail) <= 0) and acked or position
local stamp = string.format('%d', now)
redis.call('HSET', devices, 'device:' .. device, stored .. ' ' .. stamp, 'seen', stamp, 'trimmed', trimmed)
if record[3] then redis.call('HDEL', devices, 'broken') end
redis.call('HSET', sessions, device, gateway .. ' ' .. session)
local online = serve(KEYS[5], KEYS[6], KEYS[7], KEYS[8], gateway, ARGV[10], device, session, stamp)
redis.call('PEXPIRE', inbox, ttl_ms)
if replaced_session ~= '' and replaced_gateway ~= gateway then
  local bell = ARGV[8] .. replaced_gateway
  redis.pcall('XADD', bell, 'MAXLEN', '~', ARGV[9], '*', 'replaced', replaced_session)
  redis.pcall('PEXPIRE', bell, 60000)
end
return {
  'ok', position, tail, acked and 0 or 1, gap and 1 or 0, oldest and oldest[1] or '', replaced_gateway, replaced_session,
  stored, online, list_lost and 1 or 0,
}
