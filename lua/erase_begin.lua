-- Begins a user's erasure, unless one is running, and ends their sessions, on whatever gateway. The archiver does the rest.
--
-- KEYS  1 erasure  2 erasures  3 sessions
-- ARGV  1 user  2 bell prefix `bell:{u}:`  3 entries a bell may hold
-- Reply since when it runs, ms
--- include clock
--- include ended
local known = redis.call('HMGET', KEYS[1], 'state', 'since')
local since = known[2]
if known[1] ~= 'running' then
  since = string.format('%d', now_ms())
  redis.call('HDEL', KEYS[1], 'ends')
  redis.call('HSET', KEYS[1], 'state', 'running', 'since', since)
end
redis.call('SADD', KEYS[2], ARGV[1])
ring_ended(KEYS[3], ARGV[2], ARGV[3])
return tonumber(since)
