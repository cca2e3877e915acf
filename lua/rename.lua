-- Gives a group another title. The same title again makes no event.
--
-- KEYS  1 channel  2 members  3 log
-- ARGV  1 channel id  2 who  3 1 when a service acts, else 0  4 event id  5 title
-- Reply 'ok' · 'not_found': no such group, or not in it · 'forbidden': neither owner nor admin
--- include clock
--- include event
--- include members
local channel_key, members_key, log_key = KEYS[1], KEYS[2], KEYS[3]
local head = redis.call('HMGET', channel_key, 'seq', 'last', 'members_version', 'title')
local actor = member_of(members_key, ARGV[2])
if not head[1] then return 'not_found' end
if ARGV[3] ~= '1' then
  if not actor or not actor.present then return 'not_found' end
  if actor.role == 'member' then return 'forbidden' end
end
if head[4] == ARGV[5] then return 'ok' end
local seq, log_id = append_event(log_key, { seq = head[1], last = head[2] }, 'renamed', ARGV[1], ARGV[4], ARGV[2], '',
  now_ms(), tonumber(head[3]), { 'title', ARGV[5] })
redis.call('HSET', channel_key, 'seq', seq, 'last', log_id, 'title', ARGV[5])
return 'ok'
