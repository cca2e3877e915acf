-- Forgets a device: its offset, its token. A session of it goes on; the next time it is asserted it attaches again.
--
-- KEYS  1 devices
-- ARGV  1 device
-- Reply its token, or ''
--- include devices
local record = redis.call('HGET', KEYS[1], 'push:' .. ARGV[1])
forget(KEYS[1], ARGV[1])
return record and string.match(record, '^%S+ (.*)$') or ''
