-- Whose grace after their last session is over: for settle.lua, which looks again.
--
-- KEYS  for each partition: leaving
-- ARGV  1 grace ms  2 users per partition
-- Reply for each partition the users
--- include clock
local due = string.format('%d', now_ms() - tonumber(ARGV[1]))
local replies = {}
for i, leaving in ipairs(KEYS) do
  replies[i] = redis.call('ZRANGEBYSCORE', leaving, '-inf', due, 'LIMIT', 0, ARGV[2])
end
return replies
