-- Edits or deletes a message: recognises a repeat, authorises, gives the change the next sequence number, appends it to the
-- log. A deletion is final: while a message's deletion is remembered here (as long as client ids are), no other change of
-- it is accepted; older ones the caller sees in the archive or the log. So edits and deletions in flight at once agree.
--
-- KEYS  1 channel  2 members  3 log  4 5 6 dedupe of this window, the one before, the one before that
-- ARGV  1 window number that KEYS[4] stands for  2 sender  3 client id  4 event id  5 channel id  6 'direct' or 'group'
--       7 'edited' or 'deleted'  8 seq of the message  9 its id
--       10 what the caller found of the message: 'ok', else the refusal to answer with: repeats get their first answer
--       11 content or ''  12 snippet for the conversation list  13 sending device or ''
-- Reply {'window', now ms}: the window is not the present one, nothing was done · {'ok', seq, id, ts, duplicate 0|1}
--       · {refusal}: ARGV[10], 'not_found' (not a member, deleted), 'forbidden' (an edit where one of the two blocks),
--       'unavailable' (the channel was lost since the caller looked at the message)
--- include clock
--- include event
--- include members
--- include windows
--- include born
local channel_key, log_key, dedupe_key = KEYS[1], KEYS[3], KEYS[4]
local window, window_ms = ARGV[1], 1800000
local user, id, channel, kind, target = ARGV[2], ARGV[4], ARGV[5], ARGV[7], ARGV[8]
local now = now_ms()
if math.floor(now / window_ms) ~= tonumber(window) then return { 'window', now } end

local function remembered(field)
  return redis.call('HGET', dedupe_key, field) or redis.call('HGET', KEYS[5], field) or redis.call('HGET', KEYS[6], field)
end

local field = user .. ' ' .. ARGV[3]
local known = remembered(field)
if known then
  local seq, first_id, ts = string.match(known, '^(%d+) (%S+) (%d+)$')
  return { 'ok', tonumber(seq), first_id, tonumber(ts), 1 }
end

local head = redis.call('HMGET', channel_key, 'seq', 'last', 'members_version', 'dedupe', 'message', 'changed', 'blocked')
if not head[1] then return { may_be_lost(log_key) and 'unavailable' or 'not_found' } end
if ARGV[6] == 'group' then
  local member = member_of(KEYS[2], user)
  if not member or not member.present then return { 'not_found' } end
elseif kind == 'edited' and head[7] then
  return { 'forbidden' }
end
if ARGV[10] ~= 'ok' then return { ARGV[10] } end
-- The message's seq alone: a client id's field has a space in it.
if remembered(target) then return { 'not_found' } end

local extra = { 'target', target, 'target_id', ARGV[9], 'prior', head[6] or '0-0' }
if kind == 'edited' then extra[7] = 'content'; extra[8] = ARGV[11] end
if ARGV[13] ~= '' then extra[#extra + 1] = 'via'; extra[#extra + 1] = ARGV[13] end
local seq, log_id, stamp = append_event(log_key, { seq = head[1], last = head[2] }, kind, channel, id, user, ARGV[3], now,
  tonumber(head[3] or 0), extra)
local first_of_window = string.match(head[4] or '', '^%d+') ~= window
redis.call('HSET', channel_key, 'seq', seq, 'last', log_id, 'changed', log_id)
if first_of_window then redis.call('HSET', channel_key, 'dedupe', windows_with(head[4] or '', window)) end
-- `<seq> <from> <ts> <snippet>`; of a deleted message no text is left.
local latest = head[5] and string.match(head[5], '^' .. target .. ' %S+ %d+ ')
if latest then redis.call('HSET', channel_key, 'message', latest .. (kind == 'edited' and ARGV[12] or '')) end
redis.call('HSET', dedupe_key, field, seq .. ' ' .. id .. ' ' .. stamp)
if kind == 'deleted' then redis.call('HSET', dedupe_key, target, 'deleted') end
if first_of_window then redis.call('PEXPIRE', dedupe_key, 3 * window_ms) end
return { 'ok', tonumber(seq), id, tonumber(stamp), 0 }
