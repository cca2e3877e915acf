-- What of a partition the archive has to be told now, and how it is at this moment. It stays to be told until `saved.lua`.
--
-- KEYS  1 unsaved
-- ARGV  1 how many at most
-- Reply {the store's clock in microseconds, and for each: item, its state}. What cannot be read is left out, and no more asked
--       for
--- include clock
--- include unsaved
local unsaved = KEYS[1]
local t = redis.call('TIME')
local reply = { string.format('%d%06d', t[1], t[2]) }
local cannot = {}
for _, item in ipairs(redis.call('ZRANGEBYSCORE', unsaved, '-inf', now_ms(), 'LIMIT', 0, ARGV[1])) do
  local readable, state = pcall(state_of, unsaved, item)
  if readable then
    reply[#reply + 1] = item
    reply[#reply + 1] = state
  else
    cannot[#cannot + 1] = item
  end
end
if #cannot > 0 then redis.call('ZREM', unsaved, unpack(cannot)) end
return reply
