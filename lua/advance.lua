-- Raises a role's position in a partition's log, and trims the log below every role's position, minus the tail.
--
-- KEYS  1 positions  2 log
-- ARGV  1 role  2 log id up to which it has done everything  3 tail ms that is kept  4 entries  5 bytes: of a
--       larger log only ten seconds are kept, which still covers a failover  6… all the roles
-- Reply number of entries trimmed
--- include ids
--- include clock
local positions, log = KEYS[1], KEYS[2]
local held = redis.call('XLEN', log) -- of the wrong type: fail before the position moves
local present = redis.call('HGET', positions, ARGV[1])
if not present or compare(present, ARGV[2]) < 0 then redis.call('HSET', positions, ARGV[1], ARGV[2]) end
local tail = tonumber(ARGV[3])
if held > tonumber(ARGV[4]) or (redis.call('MEMORY', 'USAGE', log) or 0) > tonumber(ARGV[5]) then
  tail = math.min(10000, tail)
end
local lowest = string.format('%d-0', now_ms() - tail)
for i = 6, #ARGV do
  local position = redis.call('HGET', positions, ARGV[i])
  if not position then return 0 end -- a role that never worked here has done nothing yet
  if compare(position, lowest) < 0 then lowest = position end
end
local trimmed = redis.call('XTRIM', log, 'MINID', '~', lowest)
if trimmed > 0 then
  redis.call('HSET', positions, 'trimmed', max_id(lowest, redis.call('HGET', positions, 'trimmed') or '0-0'))
end
return trimmed
