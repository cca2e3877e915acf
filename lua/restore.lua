-- Puts a user's conversation list that was lost, or went back further than the log does, where archive and channels have
-- it: marks that are missing, those that are behind, and the unread ones that a mark made since does not count.
--
-- KEYS  1 conversations  2 devices
-- ARGV  1 1 when the list is complete with this call  2 the partition's floor before the archive was read, or ''; then for
--       each: channel · read seq of the mark as the caller saw it, or '': there was none · its last seq, when it is behind,
--       or '' · last seq · its ts · unread to be added · read seq · ' left' or ''
-- Reply how many marks are not as the caller saw them: to be looked at again
local conversations, devices = KEYS[1], KEYS[2]
redis.call('HLEN', devices)
local others = 0
for i = 3, #ARGV, 8 do
  local present = redis.call('HGET', conversations, ARGV[i])
  local seen, behind = ARGV[i + 1], ARGV[i + 2]
  local function put(last, ts, unread, left)
    redis.call('HSET', conversations, ARGV[i], string.format('%s %s %d %s%s', last, ts, unread, ARGV[i + 6], left))
  end
  if not present and seen == '' then
    put(ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], '')
  elseif present then
    local last, ts, unread, read, left = string.match(present, '^(%d+) (%d+) (%d+) (%d+)(.*)$')
    if read ~= seen or (behind ~= '' and behind ~= last) then
      others = others + 1
    elseif behind ~= '' then
      put(ARGV[i + 3], ARGV[i + 4], tonumber(unread) + tonumber(ARGV[i + 5]), ARGV[i + 7])
    elseif left == '' then
      put(last, ts, tonumber(unread) + tonumber(ARGV[i + 5]), '')
    end
  else
    others = others + 1
  end
end
if others == 0 and ARGV[1] == '1' then
  redis.call('HSET', devices, 'restored', '1')
  if ARGV[2] ~= '' then redis.call('HSET', devices, 'floor', ARGV[2]) end
end
return others
