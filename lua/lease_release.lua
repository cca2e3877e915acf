-- Gives a partition back at once, if the worker still has it: after a pause it may be somebody else's.
--
-- KEYS  1 lease
-- ARGV  1 worker
-- Reply 1 released · 0 it was not this worker's
local lease, worker = KEYS[1], ARGV[1]
if redis.call('GET', lease) ~= worker then return 0 end
redis.call('DEL', lease)
return 1
