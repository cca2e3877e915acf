-- Queues a wake-up for a message that was delivered while it was not known that its recipient has devices to wake.
--
-- KEYS  1 devices  2 sessions  3 push
-- ARGV  1 user  2 sender  3 sender's name or ''  4 channel  5 seq  6 id  7 content
-- Reply how many devices
--- include clock
--- include wakeups
local devices = KEYS[1]
local away = {}
for device in string.gmatch(redis.call('HGET', devices, 'pushable') or '', '%S+') do
  if redis.call('HEXISTS', KEYS[2], device) == 0 then away[#away + 1] = device end
end
if #away == 0 then return 0 end
local offset = string.format('%d-0', now_ms())
local queued = queue_wakeup(KEYS[3],
  wakeup(ARGV[1], table.concat(away, ' '), ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], offset, 1))
if type(queued) == 'table' then return 0 end
for i = 1, #away do redis.call('HSET', devices, 'pushed:' .. away[i], offset) end
return #away
