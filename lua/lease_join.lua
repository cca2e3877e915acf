-- Says that a worker of a role lives, and tells who does. One clock decides, the server's: workers' clocks may differ.
--
-- KEYS  1 workers (hash: worker → ms of its last sign of life)
-- ARGV  1 worker  2 a worker is forgotten after ms without a sign
-- Reply the others and this one, in no order: worker, its last sign, worker, …
--- include clock
local workers, me, forget_after = KEYS[1], ARGV[1], tonumber(ARGV[2])
local now = now_ms()
redis.call('HSET', workers, me, string.format('%d', now))
local all = redis.call('HGETALL', workers)
local live = {}
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) < now - forget_after then
    redis.call('HDEL', workers, all[i])
  else
    live[#live + 1] = all[i]
    live[#live + 1] = all[i + 1]
  end
end
return live
