-- Creates a group with its first members, as its first event. A repeat of the same group changes nothing.
--
-- KEYS  1 channel  2 members  3 log
-- ARGV  1 channel id  2 creator  3 event id  4 client id or ''  5 title or ''  6… members, the creator first
-- Reply 'created' or 'exists'
--- include clock
--- include event
local channel_key, members_key, log_key = KEYS[1], KEYS[2], KEYS[3]
if redis.call('EXISTS', channel_key) == 1 then return 'exists' end
redis.call('EXISTS', members_key)

local now = now_ms()
local users, values = {}, {}
for i = 6, #ARGV do
  users[#users + 1] = ARGV[i]
  values[#values + 1] = ARGV[i]
  values[#values + 1] = (i == 6 and 'owner' or 'member') .. ' 1-'
end
local extra = { 'members', table.concat(users, ' ') }
if ARGV[5] ~= '' then extra[3] = 'title'; extra[4] = ARGV[5] end
append_event(channel_key, log_key, {}, 'created', ARGV[1], ARGV[3], ARGV[2], ARGV[4], now, 1, extra)
redis.call('HSET', channel_key, 'kind', 'group', 'owner', ARGV[2], 'title', ARGV[5], 'members_version', 1,
  'member_count', #users, 'created', string.format('%d', now))
redis.call('HSET', members_key, unpack(values))
return 'created'
