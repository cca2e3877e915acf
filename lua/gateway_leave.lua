-- Takes a gateway out of a partition's registry: one that stops, or one whose sessions the reaper has detached.
--
-- KEYS  1 lease  2 gateways  3 served by it
-- ARGV  1 gateway  2 1: it stops and gives its lease back · 0: only while it has none
-- Reply 1 it is out · 0 it lives, or sessions are still registered with it: for the reaper
local lease, gateways, served = KEYS[1], KEYS[2], KEYS[3]
if ARGV[2] == '1' then redis.call('DEL', lease) end
if redis.call('EXISTS', lease, served) > 0 then return 0 end
redis.call('HDEL', gateways, ARGV[1])
return 1
