-- Puts a user's push tokens and blocks that were lost back, as the archive has them, unless somebody has done it.
--
-- KEYS  1 devices  2 blocks  3 blocked_by
-- ARGV  1 1 the direct channels that say of the blocks are put back too, 0 not all of them  2 number of devices; for each:
--       name · `<platform> <token>`; then number of users blocked, and these; then of users who block, and these
-- Reply 1 all is restored · 0 not all, or it had been done
local devices = KEYS[1]
local account = redis.call('HGET', devices, 'account')
if account then
  -- Changed since, maybe: only what is said of the channels is news.
  if account == '1' or ARGV[1] == '0' then return 0 end
  redis.call('HSET', devices, 'account', '1')
  return 1
end
for k = 2, 3 do redis.call('SCARD', KEYS[k]) end -- of the wrong type: nothing is written

local at = 3
local pushable = {}
for _ = 1, tonumber(ARGV[2]) do
  -- A token that was registered since is newer.
  redis.call('HSETNX', devices, 'push:' .. ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _, field in ipairs(redis.call('HKEYS', devices)) do
  if string.sub(field, 1, 5) == 'push:' then pushable[#pushable + 1] = string.sub(field, 6) end
end
if #pushable > 0 then redis.call('HSET', devices, 'pushable', table.concat(pushable, ' ')) end
for k = 2, 3 do
  local last = at + tonumber(ARGV[at])
  for i = at + 1, last do redis.call('SADD', KEYS[k], ARGV[i]) end
  at = last + 1
end
redis.call('HSET', devices, 'account', ARGV[1])
return tonumber(ARGV[1])
