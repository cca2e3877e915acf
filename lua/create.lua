-- Creates a group with its first members, as its first event. A repeat of the same group changes nothing.
--
-- KEYS  1 channel  2 members  3 log
-- ARGV  1 channel id  2 creator  3 event id  4 client id or ''  5 title or ''
--       6 'new' · 'absent': the archive has no such group either · 'again': nor has it, but one of that id may have been lost
--       7… members, the creator first
-- Reply 'created', 'exists' or 'rebuild': not here, but the archive may have it
--- include clock
--- include event
--- include born
--- include stride
local channel_key, members_key, log_key = KEYS[1], KEYS[2], KEYS[3]
if redis.call('HEXISTS', channel_key, 'seq') == 1 then return 'exists' end
local losses = ARGV[6] == 'again' and losses_of(log_key)
if (ARGV[6] == 'new' and may_be_lost(log_key)) or (ARGV[6] == 'again' and not losses) then return 'rebuild' end
redis.call('HLEN', members_key)

local users, values, known = {}, {}, {}
for i = 7, #ARGV do
  local user = ARGV[i]
  if not known[user] then
    known[user] = true
    users[#users + 1] = user
    values[#values + 1] = user
    values[#values + 1] = (i == 7 and 'owner' or 'member')
  end
end
local extra = { 'members', table.concat(users, ' ') }
if ARGV[5] ~= '' then extra[3] = 'title'; extra[4] = ARGV[5] end
local before = losses and string.format('%d', STRIDE * losses) or nil
local seq, log_id, stamp = append_event(log_key, { seq = before }, 'created', ARGV[1], ARGV[3], ARGV[2], ARGV[4], now_ms(),
  -1, extra)
redis.call('HSET', channel_key, 'seq', seq, 'last', log_id, 'kind', 'group', 'owner', ARGV[2], 'title', ARGV[5],
  'members_version', seq, 'member_count', string.format('%d', #users), 'created', stamp)
for i = 2, #values, 2 do values[i] = values[i] .. ' ' .. seq .. '-' end
for i = 1, #values, 1000 do -- unpack has a bound, the number of members is configurable
  redis.call('HSET', members_key, unpack(values, i, math.min(i + 999, #values)))
end
return 'created'
