-- Puts a user's conversation list that was lost back, as archive and channels tell it: marks that are missing, and the
-- unread ones that a mark made since does not count.
--
-- KEYS  1 conversations  2 devices
-- ARGV  1 1 when the list is complete with this call; then for each: channel · read seq of the mark as the caller saw it, or
--       '': there was none · last seq · its ts · unread to be added · read seq
-- Reply how many marks are not as the caller saw them: to be looked at again
local conversations, devices = KEYS[1], KEYS[2]
redis.call('HLEN', devices)
local others = 0
for i = 2, #ARGV, 6 do
  local present = redis.call('HGET', conversations, ARGV[i])
  local seen = ARGV[i + 1]
  if not present and seen == '' then
    redis.call('HSET', conversations, ARGV[i], string.format('%s %s %s %s', unpack(ARGV, i + 2, i + 5)))
  elseif present then
    local last, ts, unread, read, left = string.match(present, '^(%d+) (%d+) (%d+) (%d+)(.*)$')
    if read ~= seen then
      others = others + 1
    elseif left == '' then
      redis.call('HSET', conversations, ARGV[i],
        string.format('%s %s %d %s', last, ts, tonumber(unread) + tonumber(ARGV[i + 4]), ARGV[i + 5]))
    end
  else
    others = others + 1
  end
end
if others == 0 and ARGV[1] == '1' then redis.call('HSET', devices, 'restored', '1') end
return others
