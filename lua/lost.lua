-- How often the store has lost this partition, this time included. Who asks first is to find it out: one more than the archive
-- has kept, and to have it kept there before it is said here. A claim that is gone by then went with another loss, or took
-- too long: the number is nobody's.
--
-- KEYS  1 losses
-- ARGV  1 claim, no number  2 the number, kept in the archive, or ''  3 a claim lasts ms
-- Reply the number · 'claimed': find it out · 'claimed by another'
local losses, claim, number = KEYS[1], ARGV[1], ARGV[2]
local known = redis.call('GET', losses)
if known and tonumber(known) then return known end
if not known then
  redis.call('SET', losses, claim, 'PX', ARGV[3])
  return 'claimed'
end
if known ~= claim then return 'claimed by another' end
if number == '' then return 'claimed' end
redis.call('SET', losses, number)
return number
