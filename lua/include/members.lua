-- A member's value is `<role> <intervals>`, such as `admin 1-5,9-`: seq numbers, both ends included, open while a member.
local function member_of(members_key, user)
  local value = redis.call('HGET', members_key, user)
  if not value then return nil end
  local role, intervals = string.match(value, '^(%a+) (.+)$')
  return { role = role, intervals = intervals, present = string.sub(intervals, -1) == '-' }
end

local function joined(member)
  return tonumber(string.match(member.intervals, '(%d+)-$'))
end
