-- Removes a member from a group; when the owner leaves, the oldest admin, else the oldest member, becomes owner.
--
-- KEYS  1 channel  2 members  3 log
-- ARGV  1 channel id  2 who  3 1 when a service acts, else 0  4 5 ids for up to two events  6 user
-- Reply 'ok' (also when not a member, or not any more) · 'not_found' · 'forbidden'
--- include clock
--- include event
--- include members
local channel_key, members_key, log_key = KEYS[1], KEYS[2], KEYS[3]
local channel, who, user = ARGV[1], ARGV[2], ARGV[6]
local head = redis.call('HMGET', channel_key, 'seq', 'last')
if not head[1] then return 'not_found' end
local state = { seq = head[1], last = head[2] }
local actor = member_of(members_key, who)
local target = member_of(members_key, user)
local rank = ARGV[3] == '1' and 'owner' or (actor and actor.present and actor.role)
if not rank and who == user and target then return 'ok' end -- left before: the same call again
if not rank then return 'not_found' end
if who ~= user then
  if rank == 'member' then return 'forbidden' end
  if rank == 'admin' and target and target.present and target.role ~= 'member' then return 'forbidden' end
end
if not target or not target.present then return 'ok' end

local function by_bytes(a, b) -- text compared with `<` would follow the server's locale
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local heir
if target.role == 'owner' then
  local all = redis.call('HGETALL', members_key)
  for i = 1, #all, 2 do
    local role, intervals = string.match(all[i + 1], '^(%a+) (.+)$')
    if all[i] ~= user and string.sub(intervals, -1) == '-' then
      local m = { user = all[i], role = role, intervals = intervals, admin = role == 'admin', since = joined({ intervals = intervals }) }
      local better = not heir
      if heir and m.admin ~= heir.admin then better = m.admin
      elseif heir and m.since ~= heir.since then better = m.since < heir.since
      elseif heir then better = by_bytes(m.user, heir.user) end
      if better then heir = m end
    end
  end
end

local now = now_ms()
local function event(id, whom, action, role)
  local seq, log_id = append_event(log_key, state, 'member', channel, id, who, '', now, -1,
    { 'user', whom, 'action', action, 'role', role })
  redis.call('HSET', channel_key, 'seq', seq, 'last', log_id, 'members_version', seq)
  return seq
end

local seq = event(ARGV[4], user, 'removed', target.role)
redis.call('HSET', members_key, user, 'member ' .. target.intervals .. seq)
redis.call('HINCRBY', channel_key, 'member_count', -1)
if target.role == 'owner' then
  redis.call('HSET', channel_key, 'owner', heir and heir.user or '')
  if heir then
    event(ARGV[5], heir.user, 'role', 'owner')
    redis.call('HSET', members_key, heir.user, 'owner ' .. heir.intervals)
  end
end
return 'ok'
