-- Accepts messages into channels: recognises a repeat, authorises, gives each the next sequence number, appends it to the
-- partition's log. The commit point: after this a sender may be told `accepted`. Many messages in one call, each on its
-- own: what is wrong with one is its own reply. A sender has read what they send: their watermarks rise with it.
--
-- KEYS  for each message: channel, log, dedupe of this window, unsaved; to a group also members, receipts. (The two windows
--       before this one are only read, and seldom: their keys are made here.)
-- ARGV  1 window number that the dedupe keys stand for; then for each message
--       sender · client id · message id · channel id · kind · content · metadata or '' · sender's name or '' ·
--       sending device or '' · snippet for the conversation list.
--       kind: 'group' · 'direct' · 'create': direct, and may be new · 'begin': the archive has no such direct channel either
-- Reply {'window', now ms}: the window is not the present one, nothing was done · else for each message
--       {'ok', seq, id, ts, duplicate 0|1, covers 0|1, number of members for a group} · {'error', text} · {'not_found'}: no such
--       group, or the sender is not in it · {'new'}: the direct channel does not exist, and might not be made
--       · covers: it says by itself that its sender has read what others wrote, and that is news
--       · {'forbidden'}: one of the two has blocked the other · {'rebuild'}: not here, but the archive may have the channel.
--       A repeat gets its first answer also after its sender was removed: it sends nothing
--- include clock
--- include event
--- include members
--- include windows
--- include born
--- include stride
--- include unsaved
local window, window_ms = ARGV[1], 1800000
local now = now_ms()
if math.floor(now / window_ms) ~= tonumber(window) then return { 'window', now } end

local function accept(k, a)
  local channel_key, user, id, kind = KEYS[k], ARGV[a], ARGV[a + 2], ARGV[a + 4]
  local field = user .. ' ' .. ARGV[a + 1]
  local head = kind == 'group'
      and redis.call('HMGET', channel_key, 'seq', 'last', 'members_version', 'dedupe', 'member_count', 'message')
    or redis.call('HMGET', channel_key, 'seq', 'last', 'members_version', 'dedupe', 'blocked', 'message',
      'receipt:' .. user)
  -- The channel knows which windows hold something; the present one is read in any case, because it is written.
  local log_key, dedupe_key = KEYS[k + 1], KEYS[k + 2]
  local used, known = head[4] or '', redis.call('HGET', dedupe_key, field)
  for back = 1, 2 do
    if not known and used ~= window then
      local other = string.format('%d', window - back)
      if string.find(used, other, 1, true) then
        known = redis.call('HGET', string.sub(dedupe_key, 1, -#window - 1) .. other, field)
      end
    end
  end
  if known then
    local seq, first_id, ts = string.match(known, '^(%d+) (%S+) (%d+)$')
    return { 'ok', tonumber(seq), first_id, tonumber(ts), 1, 0 }
  end

  local before = head[1]
  if kind == 'group' then
    if not head[1] then return { may_be_lost(log_key) and 'rebuild' or 'not_found' } end
    local member = member_of(KEYS[k + 4], user)
    if not member or not member.present then return { 'not_found' } end
  else
    if head[5] then return { 'forbidden' } end
    if not head[1] then
      if kind ~= 'begin' and may_be_lost(log_key) then return { 'rebuild' } end
      if kind == 'direct' then return { 'new' } end
      if kind == 'begin' then
        local losses = losses_of(log_key)
        if not losses then return { 'rebuild' } end
        before = string.format('%d', STRIDE * losses)
      end
    end
    kind = 'direct'
  end

  -- Own messages, the latest among them, moved one's own mark: what others wrote before those is covered already.
  local latest_seq, latest_by = string.match(head[6] or '', '^(%d+) (%S+) ')
  local covers = 0
  if latest_by and latest_by ~= user then
    local marks = kind == 'group' and redis.pcall('HGET', KEYS[k + 5], user) or head[7]
    local read = type(marks) == 'string' and string.match(marks, ' (%d+)$') or 0
    if tonumber(read) < tonumber(latest_seq) then covers = 1 end
  end

  local extra = { 'content', ARGV[a + 5] }
  if ARGV[a + 6] ~= '' then extra[3] = 'metadata'; extra[4] = ARGV[a + 6] end
  if ARGV[a + 7] ~= '' then extra[#extra + 1] = 'name'; extra[#extra + 1] = ARGV[a + 7] end
  if ARGV[a + 8] ~= '' then extra[#extra + 1] = 'via'; extra[#extra + 1] = ARGV[a + 8] end
  local seq, log_id, stamp = append_event(log_key, { seq = before, last = head[2] }, 'message', ARGV[a + 3], id, user,
    ARGV[a + 1], now, tonumber(head[3] or 0), extra)
  local latest = seq .. ' ' .. user .. ' ' .. stamp .. ' ' .. ARGV[a + 9]
  local first_of_window = string.sub(used, 1, #window) ~= window
  if first_of_window then used = windows_with(used, window) end
  -- A direct channel keeps the watermarks in its own hash: one more field of the same write. (`seq` twice is no harm.)
  local marks, own, mine = seq .. ' ' .. seq, 'seq', seq
  if kind ~= 'group' then own, mine = 'receipt:' .. user, marks end
  if not head[1] then
    redis.call('HSET', channel_key, 'seq', seq, 'last', log_id, 'message', latest, own, mine, 'dedupe', used, 'kind',
      kind, 'created', stamp)
  elseif first_of_window then
    redis.call('HSET', channel_key, 'seq', seq, 'last', log_id, 'message', latest, own, mine, 'dedupe', used)
  else
    redis.call('HSET', channel_key, 'seq', seq, 'last', log_id, 'message', latest, own, mine)
  end
  if kind == 'group' then redis.pcall('HSET', KEYS[k + 5], user, marks) end -- of the wrong type: no reason to refuse
  redis.call('HSET', dedupe_key, field, seq .. ' ' .. id .. ' ' .. stamp)
  if first_of_window then redis.call('PEXPIRE', dedupe_key, 3 * window_ms) end
  -- Of one's own messages alone the archive knows by itself as much as of what others wrote before them.
  if covers == 1 then unsaved_read(KEYS[k + 3], ARGV[a + 3], user) end
  return { 'ok', tonumber(seq), id, tonumber(stamp), 0, covers, tonumber(head[5]) }
end

local replies, k = {}, 1
for a = 2, #ARGV, 10 do
  local done, reply = pcall(accept, k, a)
  if not done then reply = { 'error', type(reply) == 'table' and reply.err or tostring(reply) } end
  replies[#replies + 1] = reply
  k = k + (ARGV[a + 4] == 'group' and 6 or 4)
end
return replies
