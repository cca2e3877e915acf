-- Removes a device's push token, if it is still this one: it is dead, or somebody else's now.
--
-- KEYS  1 devices  2 unsaved
-- ARGV  1 device  2 token  3 user
-- Reply 1 removed · 0 the device has another one, or none
--- include unsaved
--- include devices
local record = redis.call('HGET', KEYS[1], 'push:' .. ARGV[1])
if not record or string.match(record, '^%S+ (.*)$') ~= ARGV[2] then return 0 end
remove_token(KEYS[1], ARGV[1], KEYS[2], ARGV[3])
return 1
