-- Hands a passing signal (typing) to the gateways at which these users have sessions, once per gateway. Nothing is stored,
-- and nobody waits for it.
--
-- KEYS  sessions of each user
-- ARGV  1 channel prefix `signal:{u}:`  2 the signal  3… the users, in the order of their keys
-- Reply number of gateways told. Each hears `<user> <user> …`, a line feed, and the signal
local at, gateways = {}, {}
for i = 1, #KEYS do
  local user, sessions = ARGV[i + 2], redis.pcall('HVALS', KEYS[i])
  for _, session in ipairs(sessions.err and {} or sessions) do
    local gateway = string.match(session, '^%S+')
    local users = at[gateway]
    if not users then
      at[gateway] = { user }
      gateways[#gateways + 1] = gateway
    elseif users[#users] ~= user then -- several devices at one gateway
      users[#users + 1] = user
    end
  end
end
for _, gateway in ipairs(gateways) do
  redis.pcall('SPUBLISH', ARGV[1] .. gateway, table.concat(at[gateway], ' ') .. '\n' .. ARGV[2])
end
return #gateways
