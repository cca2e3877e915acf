-- Takes a partition for a worker, or keeps it.
--
-- KEYS  1 lease
-- ARGV  1 worker  2 lasts ms
-- Reply 1 kept, it was ours · 2 taken, it was free (or had lapsed) · 0 somebody else has it
local lease, worker, ttl = KEYS[1], ARGV[1], ARGV[2]
local holder = redis.call('GET', lease)
if holder and holder ~= worker then return 0 end
redis.call('SET', lease, worker, 'PX', ttl)
return holder and 1 or 2
