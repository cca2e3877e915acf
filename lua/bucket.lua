-- Takes a token from a bucket that fills evenly. For what is rare and counts over the whole deployment; what happens all
-- the time is counted in the gateways' memory.
--
-- KEYS  1 bucket: string, ms at which it will be full; expires then
-- ARGV  1 tokens that it holds  2 ms in which an empty one fills
-- Reply ms until there is a token; 0: one was taken
--- include clock
local now, holds, fill_ms = now_ms(), tonumber(ARGV[1]), tonumber(ARGV[2])
-- No later than an empty bucket of today's size would be full: the clock may have gone back, the limit may be another.
local full_at = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now), now + fill_ms)
local wait = full_at + fill_ms / holds - now - fill_ms
if wait > 0.01 then return math.ceil(wait) end
full_at = full_at + fill_ms / holds
redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.ceil(full_at - now))
return 0
