-- Accepts one message into a channel: recognises a repeat, authorises, gives it the next sequence number, appends it to
-- the partition's log. The commit point: after this the sender may be told `accepted`.
--
-- KEYS  1 channel  2 members  3 log  4 5 6 dedupe: this window, the one before, the one before that
-- ARGV  1 window number that KEYS[4] stands for   2 sender   3 client id   4 message id   5 channel id
--       6 'direct' or 'group'   7 content   8 metadata or ''   9 sender's name or ''   10 sending device or ''
--       11 snippet for the conversation list
-- Reply {'ok', seq, id, ts, duplicate 0|1} · {'window', now ms}: KEYS[4] is not the present window, nothing was done ·
--       {'not_found'}: no such group, or the sender is not in it. A repeat gets its first answer also after its sender
--       was removed: it sends nothing
--- include clock
--- include event
--- include members
local user, kind = ARGV[2], ARGV[6]
local window_ms = 1800000

local now = now_ms()
if math.floor(now / window_ms) ~= tonumber(ARGV[1]) then return { 'window', now } end

local field = user .. ' ' .. ARGV[3]
local known = redis.call('HGET', KEYS[4], field) or redis.call('HGET', KEYS[5], field) or redis.call('HGET', KEYS[6], field)
if known then
  local seq, id, ts = string.match(known, '^(%d+) (%S+) (%d+)$')
  return { 'ok', tonumber(seq), id, tonumber(ts), 1 }
end

local head = redis.call('HMGET', KEYS[1], 'seq', 'last', 'members_version', 'dedupe')
if kind == 'group' then
  local member = head[1] and member_of(KEYS[2], user)
  if not member or not member.present then return { 'not_found' } end
end

local extra = { 'content', ARGV[7] }
if ARGV[8] ~= '' then extra[3] = 'metadata'; extra[4] = ARGV[8] end
if ARGV[9] ~= '' then extra[#extra + 1] = 'name'; extra[#extra + 1] = ARGV[9] end
if ARGV[10] ~= '' then extra[#extra + 1] = 'via'; extra[#extra + 1] = ARGV[10] end
local seq, log_id, stamp = append_event(KEYS[3], { seq = head[1], last = head[2] }, 'message', ARGV[5], ARGV[4], user, ARGV[3],
  now, tonumber(head[3] or 0), extra)
local latest = seq .. ' ' .. user .. ' ' .. stamp .. ' ' .. ARGV[11]
if not head[1] then
  redis.call('HSET', KEYS[1], 'seq', seq, 'last', log_id, 'message', latest, 'dedupe', ARGV[1], 'kind', kind, 'created', stamp)
elseif head[4] ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'seq', seq, 'last', log_id, 'message', latest, 'dedupe', ARGV[1])
else
  redis.call('HSET', KEYS[1], 'seq', seq, 'last', log_id, 'message', latest)
end
redis.call('HSET', KEYS[4], field, seq .. ' ' .. ARGV[4] .. ' ' .. stamp)
if head[4] ~= ARGV[1] then redis.call('PEXPIRE', KEYS[4], 3 * window_ms) end -- the window's first message
return { 'ok', tonumber(seq), ARGV[4], tonumber(stamp), 0 }
