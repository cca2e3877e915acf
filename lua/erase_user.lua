-- The last step of an erasure: everything in the user's own partition goes, and the erasure is done.
--
-- KEYS  1 erasure  2 erasures  3 sessions  4 inbox  5 devices  6 conversations  7 blocks  8 presence  9 leaving
--       10 unsaved
-- ARGV  1 user  2 since when the erasure runs, ms  3 bell prefix `bell:{u}:`  4 entries a bell may hold
-- Reply 1 done · 0 not the erasure that is running
--- include clock
--- include ended
--- include unsaved
local known = redis.call('HMGET', KEYS[1], 'state', 'since')
if known[1] ~= 'running' or known[2] ~= ARGV[2] then return 0 end
-- Who has connected again meanwhile did so to an inbox that is gone now.
ring_ended(KEYS[3], ARGV[3], ARGV[4])
-- Whatever came to these meanwhile may have come to the archive too.
for _, field in ipairs(redis.call('HKEYS', KEYS[5])) do
  if string.sub(field, 1, 5) == 'push:' then unsaved_since(KEYS[10], 'device ' .. ARGV[1] .. ' ' .. string.sub(field, 6)) end
end
for _, other in ipairs(redis.call('SMEMBERS', KEYS[7])) do
  unsaved_since(KEYS[10], 'block ' .. ARGV[1] .. ' ' .. other)
end
redis.call('DEL', KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8])
redis.pcall('ZREM', KEYS[9], ARGV[1])
redis.pcall('SPUBLISH', KEYS[8], string.format('offline %d', now_ms()))
redis.call('HDEL', KEYS[1], 'ends')
-- What they wrote so far is gone for readers of the log's tail too, where it is for a while.
redis.call('HSET', KEYS[1], 'state', 'done', 'until', string.format('%d', now_ms()))
redis.call('SREM', KEYS[2], ARGV[1])
return 1
