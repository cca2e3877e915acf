-- Forgets a device: its offset, its token. A session of it goes on; the next time it is asserted it attaches again.
--
-- KEYS  1 devices  2 unsaved
-- ARGV  1 device  2 user
-- Reply its token, or ''
--- include unsaved
--- include devices
local record = redis.call('HGET', KEYS[1], 'push:' .. ARGV[1])
forget(KEYS[1], ARGV[1], KEYS[2], ARGV[2])
return record and string.match(record, '^%S+ (.*)$') or ''
