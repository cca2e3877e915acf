-- Applies log entries to the inboxes and conversation lists of target partitions, and moves the targets' cursors in the
-- same step. The caller says from where it continues; a zombie, a repeated call and a target put back to an older state
-- are told apart by the cursor alone. One block is one source partition's entries for one target partition; a call has
-- blocks of one target in a cluster, of any targets on a standalone server.
--
-- KEYS  any order, named by index in ARGV: per target cursor:{u} and, after it, dead:{u} and push:{u}; per recipient, side
--       by side, inbox, devices, conversations, sessions
-- ARGV  1 entries an inbox may hold  2 inbox TTL ms  3 dormant after ms  4 entries a bell may hold
--       5 number of targets  6 number of entries; then each entry, once for all its targets
--         log id · sending device or '' · number n of what follows · type channel seq id from cid ts of the inbox entry,
--         and its other fields, each after its name
--       then for each target
--         index of cursor · bell prefix `bell:{u}:` · number of blocks · their source partitions; then for each block
--           after · last · 1 to set a floor else 0 · number of entries; then for each entry
--             which of the entries above · number of recipients; then for each: user · index of their inbox key
-- Reply one {'ok', cursor} · {'behind', cursor}: nothing applied, go back to the cursor · {'aborted', cursor, error}:
--       applied up to the cursor, repeat the rest — per block, and last {'rings', number of bells rung, users set aside,
--       inbox entries written, and for each message to a user whose push tokens may be lost: which entry, the user}
--- include ids
--- include clock
--- include inbox
--- include bells
--- include wakeups
--- include born
local guarded = pcall
local ARGV, KEYS, call, pcall, match, format = ARGV, KEYS, redis.call, redis.pcall, string.match, string.format
local cap, ttl_ms, dormant_ms, bell_cap = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local now = now_ms()
local rung, broken, written = {}, 0, 0
local lost, may_have_lost = {}, {}
local queue -- push:{u} of the present target
local OWN = { message = true, edited = true, deleted = true }

local function note(key, id)
  added[#added + 1] = key
  added[#added + 1] = id
end

-- The inbox entry of which n arguments begin at ARGV[at], by name and value.
local function entry(at, n)
  return 'type', ARGV[at], 'channel', ARGV[at + 1], 'seq', ARGV[at + 2], 'id', ARGV[at + 3], 'from', ARGV[at + 4],
    'cid', ARGV[at + 5], 'ts', ARGV[at + 6], unpack(ARGV, at + 7, at + n - 1)
end

-- Only this is a user's own. Whatever else fails (out of memory, a missing right) would fail for others too: the entry
-- is taken back, and the call stops.
local function is_own(failed)
  return string.find(failed, 'WRONGTYPE', 1, true) ~= nil
end

-- `sessions` false: the user was rung in this call before.
local function ring_user(prefix, user, sessions)
  if not sessions then return end
  for i = 1, #sessions do ring(prefix, user, sessions[i]) end
  if #sessions > 0 then rung[user] = true end
end

-- Moves the conversation's mark: `<last seq> <ts> <unread> <read seq>`, and ` left` after one's removal. `at`: where
-- in ARGV the entry begins. Returns an error when nothing could be written.
local function mark(conversations, user, known, at)
  local last, ts, unread, read
  if known then last, ts, unread, read = match(known, '^(%d+) (%d+) (%d+) (%d+)') end
  local text = ARGV[at + 2]
  local seq = tonumber(text)
  if last and seq <= tonumber(last) then return end
  local kind, own, left = ARGV[at], ARGV[at + 4] == user, ''
  unread, read = tonumber(unread) or 0, read or format('%d', seq - 1)
  local changes = kind == 'edited' or kind == 'deleted'
  if kind == 'message' then
    if own then unread, read = 0, text else unread = unread + 1 end
  elseif kind == 'deleted' then
    if not own and unread > 0 and tonumber(ARGV[at + 8]) > tonumber(read) then unread = unread - 1 end
  elseif kind == 'member' and ARGV[at + 8] == user then
    local action = ARGV[at + 10]
    if action == 'removed' then left = ' left' elseif action == 'added' then unread, read = 0, text end
  end
  -- A change of an old message does not move the conversation up in the list.
  if not (changes and ts) then ts = ARGV[at + 6] end
  local done = pcall('HSET', conversations, ARGV[at + 1], text .. ' ' .. ts .. ' ' .. unread .. ' ' .. read .. left)
  if type(done) == 'table' then return done.err end
end

-- Most users have none. Or false and the error.
local function has_other_device(devices, via)
  local names = pcall('HKEYS', devices)
  if names.err then return false, names end
  for i = 1, #names do
    if string.sub(names[i], 1, 7) == 'device:' and string.sub(names[i], 8) ~= via then
      if now - tonumber(match(call('HGET', devices, names[i]), ' (%d+)')) <= dormant_ms then return true end
    end
  end
  return false
end

-- Keeps the entry beside the inbox and goes on: the user's next attach is a gap. Returns an error like `deliver`.
local function set_aside(devices, dead, user, reason, at, n)
  local kept = pcall('XADD', dead, 'MAXLEN', '~', 10000, '*', 'user', user, 'reason', reason, entry(at, n))
  if type(kept) == 'string' then note(dead, kept) elseif not is_own(kept.err) then return kept.err end
  broken = broken + 1
  local trimmed = pcall('HGET', devices, 'trimmed')
  if type(trimmed) ~= 'table' then
    local mine = format('%d-0', now)
    local marked = pcall('HSET', devices, 'broken', format('%d', now), 'trimmed', trimmed and max_id(trimmed, mine) or mine)
    if type(marked) == 'table' and not is_own(marked.err) then return marked.err end
  end
end

-- The gateways' names and sessions of a user with push tokens, and their devices that have a token and no session.
local function absent(pushable, sessions)
  local all = pcall('HGETALL', sessions)
  if all.err then return all end
  local live, here, away = {}, {}, {}
  for i = 1, #all, 2 do
    here[all[i]] = true
    live[#live + 1] = all[i + 1]
  end
  for device in string.gmatch(pushable, '%S+') do
    if not here[device] then away[#away + 1] = device end
  end
  return live, away
end

-- Queues a wake-up of the devices that are away, once per message and device. The inbox has the entry already.
local function wake(devices, dead, user, away, at, n, offset)
  local name
  for i = at + 9, at + n - 1, 2 do
    if ARGV[i] == 'name' then name = ARGV[i + 1] end
  end
  local woken = wakeup(user, table.concat(away, ' '), ARGV[at + 4], name, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3],
    ARGV[at + 8], offset, 1)
  local queued = queue_wakeup(queue, woken)
  if type(queued) == 'string' then
    note(queue, queued)
  else -- not a stream: kept where operators look, and replayed when it is one again
    if not is_own(queued.err) then error(queued) end
    pcall('XADD', dead, 'MAXLEN', '~', 10000, '*', 'kind', 'push', 'reason', queued.err, unpack(woken))
  end
  local marks = {}
  for i = 1, #away do
    marks[2 * i - 1] = 'pushed:' .. away[i]
    marks[2 * i] = offset
  end
  pcall('HSET', devices, unpack(marks))
end

-- Asked only for users of whom there is nothing that a live one has.
local function may_have_lost_tokens(key)
  local tag = match(key, '{.*}')
  if may_have_lost[tag] == nil then may_have_lost[tag] = may_be_lost(key) end
  return may_have_lost[tag]
end

-- Delivers the entry whose n arguments begin at ARGV[at] to one user. Returns or raises an error when the call has to stop.
local function deliver(key, dead, prefix, user, via, at, n)
  local devices, conversations = KEYS[key + 1], KEYS[key + 2]
  local known = pcall('HGET', conversations, ARGV[at + 1])
  -- One's own message, and changes of it, are for one's other devices, if there are any.
  local seen, live, alone, away
  local own = ARGV[at + 4] == user
  if own and OWN[ARGV[at]] then
    local other, err = has_other_device(devices, via)
    seen, alone = err, not other
  end
  if not alone and not seen then
    live = not rung[user] and pcall('HVALS', KEYS[key + 3])
    local for_others = not own and ARGV[at] == 'message'
    local pushable
    if not live or (not live.err and #live > 0) then
      -- With a session: so they were seen, and nothing of theirs is lost.
      pushable = pcall('HGET', devices, 'pushable')
      if type(pushable) == 'table' then seen = pushable end
    elseif not live.err then
      local record = pcall('HMGET', devices, 'seen', 'pushable', 'account')
      seen, pushable = record.err and record or record[1], record[2]
      if not seen and not record[3] and for_others and may_have_lost_tokens(devices) then
        lost[#lost + 1] = at
        lost[#lost + 1] = user
      end
    end
    if type(pushable) == 'string' and for_others then live, away = absent(pushable, KEYS[key + 3]) end
  end
  local failed = type(seen) == 'table' and seen.err or type(known) == 'table' and known.err or live and live.err

  if not failed then
    if alone then
      failed = mark(conversations, user, known, at)
      if not failed then return end
    elseif (not seen or now - tonumber(seen) > dormant_ms) and live and #live == 0 then
      failed = mark(conversations, user, known, at)
      if not failed then
        raise_trimmed(devices, format('%d-0', now))
        if away and #away > 0 then wake(devices, dead, user, away, at, n, format('%d-0', now)) end
        return
      end
    else
      local id
      id, failed = push(KEYS[key], devices, cap, ttl_ms, entry(at, n))
      if id then
        written = written + 1
        failed = mark(conversations, user, known, at)
        if failed then return failed end
        ring_user(prefix, user, not rung[user] and live)
        if away and #away > 0 then wake(devices, dead, user, away, at, n, id) end
        return
      end
    end
  end

  if not is_own(failed) then return failed end
  failed = set_aside(devices, dead, user, failed, at, n)
  if failed then return failed end
  if away and #away > 0 then wake(devices, dead, user, away, at, n, format('%d-0', now)) end
  -- The gap that the user is told of names the channels' heads, this entry's among them.
  if type(known) ~= 'table' then mark(conversations, user, known, at) end
  if live and not live.err then ring_user(prefix, user, not rung[user] and live) end
end

local i = 7
local log_ids, via, counts, fields = {}, {}, {}, {}
for e = 1, tonumber(ARGV[6]) do
  log_ids[e], via[e], counts[e], fields[e] = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), i + 3
  i = i + 3 + counts[e]
end

local function deliver_to(recipients, from, dead, prefix, e)
  for r = from, from + 2 * recipients - 2, 2 do
    local failed = deliver(tonumber(ARGV[r + 1]), dead, prefix, ARGV[r], via[e], fields[e], counts[e])
    if failed then return failed end
  end
end

-- An entry reaches all its recipients or none: else the repetition would come twice. (A conversation's mark stays: it
-- does not move twice.) Returns the error.
local function deliver_whole(...)
  local start, broken_before, written_before, lost_before = #added, broken, written, #lost
  local done, failed = guarded(deliver_to, ...)
  if not done then failed = type(failed) == 'table' and failed.err or tostring(failed) end
  if failed then
    for a = #added - 1, start + 1, -2 do
      pcall('XDEL', added[a], added[a + 1])
      added[a], added[a + 1] = nil, nil
    end
    broken, written = broken_before, written_before
    for n = #lost, lost_before + 1, -1 do lost[n] = nil end
  end
  return failed
end

-- Applies one block; returns its reply. `before`: what the cursor is, or the error of reading it.
local function apply(before, dead, prefix)
  local after, last, floor, entries = ARGV[i], ARGV[i + 1], ARGV[i + 2] == '1', tonumber(ARGV[i + 3])
  i = i + 4
  local behind, stopped = false, nil
  if type(before) == 'table' then before, stopped = after, before.err end
  local cursor = before
  -- Usually the caller is right, and nothing has to be compared.
  local equal = cursor == after
  local cursor_ms, cursor_n
  if not equal then
    cursor_ms, cursor_n = split(cursor)
    behind = not stopped and not floor and compare(cursor, after) < 0
    floor = floor and not stopped and compare(cursor, after) < 0
  end
  for _ = 1, entries do
    local e, recipients = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    i = i + 2
    if not behind and not stopped then
      local beyond = equal
      if not equal then
        local ms, ordinal = split(log_ids[e])
        beyond = ms > cursor_ms or (ms == cursor_ms and ordinal > cursor_n)
      end
      if beyond then
        stopped = deliver_whole(recipients, i, dead, prefix, e)
        if not stopped then
          cursor = log_ids[e]
          if not equal then cursor_ms, cursor_n = split(cursor) end
        end
      end
    end
    i = i + 2 * recipients
  end
  if behind then return { 'behind', cursor } end
  if not stopped then cursor = equal and last or max_id(cursor, last) end
  return stopped and { 'aborted', cursor, stopped } or { 'ok', cursor }, floor and cursor ~= before
end

local replies = {}
for _ = 1, tonumber(ARGV[5]) do
  local index, prefix, blocks = tonumber(ARGV[i]), ARGV[i + 1], tonumber(ARGV[i + 2])
  local sources = i + 3
  local known = pcall('HMGET', KEYS[index], unpack(ARGV, sources, sources + blocks - 1))
  i = sources + blocks
  queue = KEYS[index + 2]
  -- All the blocks' cursors are read and moved together: a block of one message costs as much as one of many.
  local moves, first, moved_to = {}, #replies, {}
  for b = 1, blocks do
    local source = ARGV[sources + b - 1]
    local before = known.err and known or moved_to[source] or known[b] or '0-0'
    local reply, floor = apply(before, KEYS[index + 1], prefix)
    if floor then moves[#moves + 1] = 'floor'; moves[#moves + 1] = format('%d-0', now) end
    if reply[1] ~= 'behind' and not known.err and reply[2] ~= before then
      moves[#moves + 1] = source
      moves[#moves + 1] = reply[2]
      moved_to[source] = reply[2]
    end
    replies[#replies + 1] = reply
  end
  local moved = #moves > 0 and pcall('HSET', KEYS[index], unpack(moves))
  if type(moved) == 'table' then
    for b = 1, blocks do
      if replies[first + b][1] ~= 'behind' then replies[first + b] = { 'aborted', known[b] or '0-0', moved.err } end
    end
  end
end

for n = 1, #lost, 2 do
  for e = 1, #fields do
    if fields[e] == lost[n] then lost[n] = e break end
  end
end
replies[#replies + 1] = { 'rings', ring_all(bell_cap), broken, written, lost }
return replies
