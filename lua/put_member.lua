-- Adds a member to a group, or changes the role of one. What is already so makes no event.
--
-- KEYS  1 channel  2 members  3 log
-- ARGV  1 channel id  2 who  3 1 when a service acts, else 0  4 5 ids for up to two events  6 user  7 role or ''
--       8 most members
-- Reply 'ok' · 'not_found' · 'forbidden' · 'conflict': the group is full · 'bad_request': the owner cannot be demoted
--       but by giving the group away, nor a stranger made owner
--- include clock
--- include event
--- include members
local channel_key, members_key, log_key = KEYS[1], KEYS[2], KEYS[3]
local channel, who, user, role = ARGV[1], ARGV[2], ARGV[6], ARGV[7]
local head = redis.call('HMGET', channel_key, 'seq', 'last', 'owner', 'member_count')
if not head[1] then return 'not_found' end
local state = { seq = head[1], last = head[2] }
local actor = member_of(members_key, who)
local target = member_of(members_key, user)
local rank = ARGV[3] == '1' and 'owner' or (actor and actor.present and actor.role)
if not rank then return 'not_found' end
if rank == 'member' then return 'forbidden' end

local now = now_ms()
local function event(id, whom, action, new_role)
  local seq, log_id = append_event(log_key, state, 'member', channel, id, who, '', now, -1,
    { 'user', whom, 'action', action, 'role', new_role })
  redis.call('HSET', channel_key, 'seq', seq, 'last', log_id, 'members_version', seq)
  return seq
end

if not target or not target.present then
  if role == '' then role = 'member' end
  if role == 'owner' then return 'bad_request' end
  if role ~= 'member' and rank ~= 'owner' then return 'forbidden' end
  if tonumber(head[4]) >= tonumber(ARGV[8]) then return 'conflict' end
  local seq = event(ARGV[4], user, 'added', role)
  local past = target and (target.intervals .. ',') or ''
  redis.call('HSET', members_key, user, string.format('%s %s%s-', role, past, seq))
  redis.call('HINCRBY', channel_key, 'member_count', 1)
  return 'ok'
end

if role == '' or role == target.role then return 'ok' end
if rank ~= 'owner' then return 'forbidden' end
if target.role == 'owner' then return 'bad_request' end
event(ARGV[4], user, 'role', role)
redis.call('HSET', members_key, user, role .. ' ' .. target.intervals)
if role == 'owner' then
  local before = head[3]
  redis.call('HSET', channel_key, 'owner', user)
  local old = before and member_of(members_key, before)
  if old and old.present and before ~= user then
    event(ARGV[5], before, 'role', 'admin')
    redis.call('HSET', members_key, before, 'admin ' .. old.intervals)
  end
end
return 'ok'
