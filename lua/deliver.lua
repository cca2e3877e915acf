-- Applies log entries to the inboxes and conversation lists of one target partition, and moves the target's cursor in the
-- same step. The caller says from where it continues; a zombie, a repeated call and a target put back to an older state
-- are told apart by the cursor alone. One block is one source partition's entries for one target partition; a call has
-- blocks of one target in a cluster, of any targets on a standalone server.
--
-- KEYS  any order, named by index in ARGV: per block cursor:{u} and dead:{u}; per recipient, side by side,
--       inbox, devices, conversations, sessions
-- ARGV  1 entries an inbox may hold  2 inbox TTL ms  3 dormant after ms  4 entries a bell may hold
--       5 number of blocks; then for each block
--         source partition · index of cursor · index of dead · bell prefix `bell:{u}:` · after · last · 1 to set a floor else 0
--         number of entries; then for each entry
--           log id · sending device or '' · number n of inbox fields · n fields (type channel seq id from cid ts …, by name)
--           number of recipients; then for each: user · index of their inbox key
-- Reply one {'ok', cursor} · {'behind', cursor}: nothing applied, go back to the cursor · {'aborted', cursor, error}:
--       applied up to the cursor, repeat the rest — per block, and last {'rings', number of bells rung, users set aside}
--- include ids
--- include clock
--- include inbox
local cap, ttl_ms, dormant_ms, bell_cap = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()
local rings, bells, broken = {}, {}, 0

local function ring(prefix, user, sessions)
  for _, session in ipairs(sessions) do
    local bell = prefix .. string.match(session, '^(%S+)')
    local users = rings[bell]
    if not users then
      users = { list = {}, known = {} }
      rings[bell] = users
      bells[#bells + 1] = bell
    end
    if not users.known[user] then
      users.known[user] = true
      users.list[#users.list + 1] = user
    end
  end
end

-- The conversation's mark: `<last seq> <its ts> <unread> <read seq>`, and ` left` after one's removal.
local function mark(conversations, user, known, f)
  local last, _, unread, read = string.match(known or '', '^(%d+) (%d+) (%d+) (%d+)')
  local seq = tonumber(f[6])
  last, unread, read = tonumber(last) or 0, tonumber(unread) or 0, tonumber(read)
  if seq <= last then return end
  local left = ''
  if f[2] == 'message' then
    if f[10] == user then unread, read = 0, seq else unread = unread + 1 end
  elseif f[2] == 'member' and f[16] == user then
    if f[18] == 'removed' then left = ' left' elseif f[18] == 'added' then unread, read = 0, seq end
  end
  redis.call('HSET', conversations, f[4], string.format('%d %s %d %d%s', seq, f[14], unread, read or seq - 1, left))
end

local function has_other_device(all, via)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 7) == 'device:' and string.sub(all[i], 8) ~= via then
      local seen = string.match(all[i + 1], ' (%d+)')
      if now - tonumber(seen) <= dormant_ms then return true end
    end
  end
  return false
end

-- Returns an error when the whole batch has to stop, else nothing.
local function deliver(at, dead, prefix, user, via, f)
  local inbox, devices, conversations, sessions = KEYS[at], KEYS[at + 1], KEYS[at + 2], KEYS[at + 3]
  local device = redis.pcall('HMGET', devices, 'seen', 'trimmed')
  local known = redis.pcall('HGET', conversations, f[4])
  local live = redis.pcall('HVALS', sessions)
  local failed = device.err or (type(known) == 'table' and known.err) or live.err
  local own = f[10] == user and f[2] == 'message'

  if not failed then
    local seen = tonumber(device[1])
    if own and not has_other_device(redis.call('HGETALL', devices), via) then
      mark(conversations, user, known, f)
      return
    elseif not seen or now - seen > dormant_ms then
      redis.call('HSET', devices, 'trimmed', string.format('%d-0', now))
      mark(conversations, user, known, f)
      return
    end
    local id, err = push(inbox, devices, f, cap, ttl_ms)
    if id then
      mark(conversations, user, known, f)
      ring(prefix, user, live)
      return
    end
    failed = err
  end

  if not string.find(failed, 'WRONGTYPE', 1, true) then return failed end
  broken = broken + 1
  redis.call('XADD', dead, 'MAXLEN', '~', 10000, '*', 'user', user, 'reason', failed, unpack(f))
  redis.pcall('HSET', devices, 'broken', string.format('%d', now), 'trimmed', string.format('%d-0', now))
  if not live.err then ring(prefix, user, live) end
end

local i = 5
local function take()
  i = i + 1
  return ARGV[i]
end

local replies = {}
for b = 1, tonumber(ARGV[5]) do
  local source, cursor_key, dead, prefix = take(), KEYS[tonumber(take())], KEYS[tonumber(take())], take()
  local after, last, floor = take(), take(), take()
  local cursor = redis.call('HGET', cursor_key, source) or '0-0'
  local behind = compare(cursor, after) < 0 and floor ~= '1'
  local stopped
  if floor == '1' then redis.call('HSET', cursor_key, 'floor', string.format('%d-0', now)) end
  for _ = 1, tonumber(take()) do
    local log_id, via, fields = take(), take(), {}
    for n = 1, tonumber(take()) do fields[n] = take() end
    local skip = behind or stopped or compare(log_id, cursor) <= 0
    for _ = 1, tonumber(take()) do
      local user, at = take(), tonumber(take())
      if not skip and not stopped then stopped = deliver(at, dead, prefix, user, via, fields) end
    end
    if not skip and not stopped then cursor = log_id end
  end
  if behind then
    replies[b] = { 'behind', cursor }
  else
    if not stopped then cursor = max_id(cursor, last) end
    redis.call('HSET', cursor_key, source, cursor)
    replies[b] = stopped and { 'aborted', cursor, stopped } or { 'ok', cursor }
  end
end

for _, bell in ipairs(bells) do -- a ring is a hint, never a reason to fail
  redis.pcall('XADD', bell, 'MAXLEN', '~', bell_cap, '*', 'users', table.concat(rings[bell].list, ' '))
  redis.pcall('PEXPIRE', bell, 60000)
end
replies[#replies + 1] = { 'rings', #bells, broken }
return replies
