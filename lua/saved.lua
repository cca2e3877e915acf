-- The archive has been told: what is still as it was told need not be told again.
--
-- KEYS  1 unsaved
-- ARGV  for each: item, the state that the archive was told
-- Reply how many have changed meanwhile
--- include clock
--- include unsaved
local unsaved, changed = KEYS[1], 0
for i = 1, #ARGV, 2 do
  local readable, state = pcall(state_of, unsaved, ARGV[i])
  if not readable or state == ARGV[i + 1] then
    redis.call('ZREM', unsaved, ARGV[i])
  else
    changed = changed + 1
    if string.sub(ARGV[i], 1, 5) == 'read ' then redis.call('ZADD', unsaved, now_ms() + READS_EVERY_MS, ARGV[i]) end
  end
end
return changed
