-- Accepts one message into a channel: authorises, recognises a repeat, gives it the next sequence number, appends it to
-- the partition's log. The commit point: after this the sender may be told `accepted`.
--
-- KEYS  1 channel  2 members  3 log  4 5 6 dedupe: this window, the one before, the one before that
-- ARGV  1 window number that KEYS[4] stands for   2 sender   3 client id   4 message id   5 channel id
--       6 'direct' or 'group'   7 content   8 metadata or ''   9 sender's name or ''   10 sending device or ''
--       11 snippet for the conversation list
-- Reply {'ok', seq, id, ts, duplicate 0|1} · {'window', now ms}: KEYS[4] is not the present window, nothing was done ·
--       {'not_found'}: no such group, or the sender is not in it
--- include clock
--- include event
--- include members
local channel_key, members_key, log_key = KEYS[1], KEYS[2], KEYS[3]
local user, client_id, kind = ARGV[2], ARGV[3], ARGV[6]
local window_ms = 1800000

local now = now_ms()
if math.floor(now / window_ms) ~= tonumber(ARGV[1]) then return { 'window', now } end

local head = redis.call('HMGET', channel_key, 'seq', 'last', 'members_version')
if kind == 'group' then
  local member = head[1] and member_of(members_key, user)
  if not member or not member.present then return { 'not_found' } end
end

local field = user .. ' ' .. client_id
for i = 4, 6 do
  local known = redis.call('HGET', KEYS[i], field)
  if known then
    local seq, id, ts = string.match(known, '^(%d+) (%S+) (%d+)$')
    return { 'ok', tonumber(seq), id, tonumber(ts), 1 }
  end
end

local extra = { 'content', ARGV[7] }
if ARGV[8] ~= '' then extra[#extra + 1] = 'metadata'; extra[#extra + 1] = ARGV[8] end
if ARGV[9] ~= '' then extra[#extra + 1] = 'name'; extra[#extra + 1] = ARGV[9] end
if ARGV[10] ~= '' then extra[#extra + 1] = 'via'; extra[#extra + 1] = ARGV[10] end
local created = head[1] == false
local seq = append_event(channel_key, log_key, { seq = head[1], last = head[2] }, 'message', ARGV[5], ARGV[4], user,
  client_id, now, tonumber(head[3] or 0), extra)
local digits = string.format('%d', seq)
redis.call('HSET', channel_key, 'message', string.format('%d %s %d %s', seq, user, now, ARGV[11]))
if created then redis.call('HSET', channel_key, 'kind', kind, 'created', string.format('%d', now)) end
redis.call('HSET', KEYS[4], field, string.format('%s %s %d', digits, ARGV[4], now))
redis.call('PEXPIRE', KEYS[4], 3 * window_ms, 'NX')
return { 'ok', seq, ARGV[4], now, 0 }
