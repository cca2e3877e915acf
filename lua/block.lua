-- One of the two of a direct channel blocks the other, or no longer. The channel may not exist yet: then this is all that
-- its hash holds.
--
-- KEYS  1 channel
-- ARGV  1 who blocks  2 whom  3 1 blocks, 0 no longer
-- Reply 'ok'
local channel, mine, theirs = KEYS[1], 'blocked:' .. ARGV[1], 'blocked:' .. ARGV[2]
local other = redis.call('HEXISTS', channel, theirs) == 1
if ARGV[3] == '1' then
  redis.call('HSET', channel, mine, '1', 'blocked', '1')
elseif other then
  redis.call('HDEL', channel, mine)
else
  redis.call('HDEL', channel, mine, 'blocked')
end
return 'ok'
