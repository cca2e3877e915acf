-- Renews a gateway's lease in many partitions. A lease holds since when it has been held without a break, so the gateway
-- sees, also when a reply was lost, that it had lapsed: then its sessions may have been taken for dead, or forgotten.
--
-- KEYS  for each partition: lease (string), gateways (hash: gateway → ms of its last renewal), served by it, cursor
-- ARGV  1 gateway  2 lasts ms
-- Reply for each partition {since, sessions registered with it, floor or ''}
--- include clock
local gateway, ttl_ms = ARGV[1], ARGV[2]
local stamp = string.format('%d', now_ms())
local replies = {}
for i = 1, #KEYS, 4 do
  local since = redis.pcall('GETEX', KEYS[i], 'PX', ttl_ms)
  if type(since) ~= 'string' then
    since = stamp
    redis.call('SET', KEYS[i], since, 'PX', ttl_ms)
  end
  -- A broken index is no reason to look dead.
  redis.pcall('HSET', KEYS[i + 1], gateway, stamp)
  local served = redis.pcall('SCARD', KEYS[i + 2])
  local floor = redis.pcall('HGET', KEYS[i + 3], 'floor')
  replies[#replies + 1] = { since, type(served) == 'number' and served or 0, type(floor) == 'string' and floor or '' }
end
return replies
