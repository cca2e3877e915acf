-- Registers a device's session and tells from which offset it reads. Also the way in which a gateway re-asserts a
-- registration that a failover lost: the same session again changes nothing else.
--
-- KEYS  1 inbox  2 devices  3 sessions  4 cursor
-- ARGV  1 device  2 session id  3 gateway  4 since or ''  5 most sessions at once  6 inbox TTL ms  7 dormant after ms
--       8 bell prefix `bell:{u}:`
-- Reply {'ok', position, end of the inbox, first hello 0|1, gap 0|1, oldest offset or '', replaced gateway or '',
--        replaced session or ''} · {'too_many'}
--- include ids
--- include clock
local inbox, devices, sessions, cursor = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local device, session, gateway, since = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = now_ms()

local all = redis.call('HGETALL', sessions)
local others, replaced_gateway, replaced_session = 0, '', ''
for i = 1, #all, 2 do
  if all[i] == device then
    replaced_gateway, replaced_session = string.match(all[i + 1], '^(%S+) (%S+)$')
  else
    others = others + 1
  end
end
if others >= tonumber(ARGV[5]) then return { 'too_many' } end
if replaced_session == session then replaced_gateway, replaced_session = '', '' end

local record = redis.call('HMGET', devices, 'trimmed', 'device:' .. device)
local floor = redis.call('HGET', cursor, 'floor') or '0-0'

-- A stream needs one entry to exist; whoever finds none adds and trims one.
local trimmed = record[1]
if redis.call('EXISTS', inbox) == 0 then
  local id = redis.call('XADD', inbox, '*', 'type', 'none')
  redis.call('XTRIM', inbox, 'MAXLEN', 0)
  trimmed = max_id(trimmed or '0-0', below(id))
end
local info = redis.call('XINFO', 'STREAM', inbox)
local tail
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then tail = info[i + 1] end
end
trimmed = trimmed or tail -- `devices` was lost: what was removed before can no longer be told
if compare(trimmed, tail) > 0 then
  -- A dormant user's mark, or a tail lost in a failover: later entries must get later ids.
  redis.call('XSETID', inbox, trimmed)
  tail = trimmed
end

local acked, seen
if record[2] then acked, seen = string.match(record[2], '^(%S+) (%d+)') end
local position = since ~= '' and since or acked or tail
local gap = compare(position, trimmed) < 0 or compare(position, floor) < 0
  or (seen ~= nil and now - tonumber(seen) > tonumber(ARGV[7]))
if compare(position, tail) > 0 then
  gap = true
  if tonumber((string.match(position, '^(%d+)'))) <= now then
    redis.call('XSETID', inbox, position)
    tail = position
  else
    position = tail
  end
end

local oldest = redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
local stored = (acked and compare(acked, tail) <= 0) and max_id(acked, position) or position
local stamp = string.format('%d', now)
redis.call('HSET', devices, 'device:' .. device, stored .. ' ' .. stamp, 'seen', stamp, 'trimmed', trimmed)
redis.call('HDEL', devices, 'broken')
redis.call('HSET', sessions, device, gateway .. ' ' .. session)
redis.call('PEXPIRE', inbox, ARGV[6])
if replaced_session ~= '' and replaced_gateway ~= gateway then
  redis.pcall('XADD', ARGV[8] .. replaced_gateway, '*', 'replaced', replaced_session)
end
return { 'ok', position, tail, acked and 0 or 1, gap and 1 or 0, oldest and oldest[1] or '', replaced_gateway, replaced_session }
