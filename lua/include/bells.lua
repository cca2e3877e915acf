-- Rings of one call, an entry for each gateway however many of its users have something new. `session`: a value of
-- `sessions`; a user's are rung one after the other. A ring is a hint, never a reason to fail.
local rings, bells = {}, {}

local function ring(prefix, user, session)
  local bell = prefix .. string.match(session, '^%S+')
  local users = rings[bell]
  if not users then
    rings[bell] = { user }
    bells[#bells + 1] = bell
  elseif users[#users] ~= user then -- several devices at one gateway
    users[#users + 1] = user
  end
end

-- `...`: further fields of the entries. Returns how many bells were rung.
local function ring_all(bell_cap, ...)
  for i = 1, #bells do
    redis.pcall('XADD', bells[i], 'MAXLEN', '~', bell_cap, '*', 'users', table.concat(rings[bells[i]], ' '), ...)
    redis.pcall('PEXPIRE', bells[i], 60000)
  end
  return #bells
end
