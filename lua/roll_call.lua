-- Which gateways serve users in each partition, and which of them hold their lease there.
--
-- KEYS  for each partition: gateways
-- ARGV  for each partition: lease prefix `gateway:{u}:`
-- Reply for each partition {gateway, ms of its last renewal, lease 0|1} of all its gateways
local replies = {}
for i, gateways in ipairs(KEYS) do
  local all = redis.call('HGETALL', gateways)
  local leases, list = {}, {}
  for j = 1, #all, 2 do leases[#leases + 1] = ARGV[i] .. all[j] end
  local held = #leases > 0 and redis.call('MGET', unpack(leases)) or {}
  for j = 1, #all, 2 do
    list[#list + 1] = { all[j], all[j + 1], held[(j + 1) / 2] and 1 or 0 }
  end
  replies[i] = list
end
return replies
