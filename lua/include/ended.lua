-- Tells each gateway that serves one of these sessions that it has ended for good.
local function ring_ended(sessions, prefix, bell_cap)
  for _, value in ipairs(redis.call('HVALS', sessions)) do
    local gateway, session = string.match(value, '^(%S+) (%S+)$')
    redis.pcall('XADD', prefix .. gateway, 'MAXLEN', '~', bell_cap, '*', 'ended', session)
    redis.pcall('PEXPIRE', prefix .. gateway, 60000)
  end
end
