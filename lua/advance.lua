-- Raises a role's position in a partition's log, and trims the log below every role's position, minus the tail.
--
-- KEYS  1 positions  2 log
-- ARGV  1 role  2 log id up to which it has done everything  3 tail ms that is kept  4 entries  5 bytes: of a
--       larger log only ten seconds are kept, which still covers a failover  6… all the roles, this one among them
-- Reply number of entries trimmed
--- include ids
--- include clock
local positions, log, role, to = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local held = redis.call('XLEN', log) -- of the wrong type: fail before the position moves
local known = redis.call('HMGET', positions, 'trimmed', unpack(ARGV, 6))
local tail = tonumber(ARGV[3])
if held > tonumber(ARGV[4]) or (redis.call('MEMORY', 'USAGE', log) or 0) > tonumber(ARGV[5]) then
  tail = math.min(10000, tail)
end
local lowest, changes = string.format('%d-0', now_ms() - tail), {}
for i = 6, #ARGV do
  local position = known[i - 4]
  if ARGV[i] == role and (not position or compare(position, to) < 0) then
    position, changes = to, { role, to }
  end
  if not position then lowest = nil end -- a role that never worked here has done nothing yet
  if lowest and compare(position, lowest) < 0 then lowest = position end
end
local trimmed = lowest and redis.call('XTRIM', log, 'MINID', '~', lowest) or 0
if trimmed > 0 then
  changes[#changes + 1] = 'trimmed'
  changes[#changes + 1] = max_id(lowest, known[1] or '0-0')
end
if #changes > 0 then redis.call('HSET', positions, unpack(changes)) end
return trimmed
