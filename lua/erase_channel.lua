-- Takes an erased user out of what a channel's keys hold: the snippet of their message, their watermarks, their former
-- membership. Whoever has the id afterwards sees of a direct channel what comes from now on.
--
-- KEYS  1 channel  2 members  3 receipts  4 unsaved
-- ARGV  1 user  2 what was sent up to this ms is erased  3 1 in a direct channel, else 0  4 channel
-- Reply 'ok'
--- include members
--- include unsaved
local channel, user = KEYS[1], ARGV[1]
local head = redis.call('HMGET', channel, 'seq', 'message')
if not head[1] then return 'ok' end
local seq, from, ts = string.match(head[2] or '', '^(%d+) (%S+) (%d+) ')
if from == user and tonumber(ts) <= tonumber(ARGV[2]) then
  redis.call('HSET', channel, 'message', seq .. ' ' .. from .. ' ' .. ts .. ' ')
end
if ARGV[3] == '1' then
  redis.call('HSET', channel, 'erased:' .. user, head[1])
  redis.call('HDEL', channel, 'receipt:' .. user)
else
  redis.call('HDEL', KEYS[3], user)
  local member = member_of(KEYS[2], user)
  if member and not member.present then redis.call('HDEL', KEYS[2], user) end
end
unsaved_since(KEYS[4], 'read ' .. ARGV[4] .. ' ' .. user)
return 'ok'
