-- Gives a device its push token. A token that another user's device has is that one's still: see `push_token:{t}`.
--
-- KEYS  1 devices  2 sessions  3 unsaved
-- ARGV  1 device  2 platform  3 token  4 most known devices  5 user
-- Reply 1
--- include unsaved
--- include devices
local devices, device = KEYS[1], ARGV[1]
local sessions = redis.call('HGETALL', KEYS[2])

make_room(devices, sessions, device, tonumber(ARGV[4]), KEYS[3], ARGV[5])
local pushable = redis.call('HGET', devices, 'pushable')
if not pushable then
  pushable = device
elseif redis.call('HEXISTS', devices, 'push:' .. device) == 0 then
  pushable = pushable .. ' ' .. device
end
redis.call('HSET', devices, 'push:' .. device, ARGV[2] .. ' ' .. ARGV[3], 'pushable', pushable)
-- Also one that it had: apps say theirs at each start, so an archive that does not know it hears of it.
unsaved_since(KEYS[3], 'device ' .. ARGV[5] .. ' ' .. device)
return 1
