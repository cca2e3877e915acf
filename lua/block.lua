-- One of the two of a direct channel blocks the other, or no longer. The channel may not exist yet: then this is all that
-- its hash holds. In a partition that may have lost the channel it then says so even of a block that has ended: what the
-- archive knows may be older.
--
-- KEYS  1 channel  2 log
-- ARGV  1 who blocks  2 whom  3 1 blocks, 0 no longer
-- Reply 'ok'
--- include born
local channel, mine, theirs = KEYS[1], 'blocked:' .. ARGV[1], 'blocked:' .. ARGV[2]
local other = redis.call('HGET', channel, theirs) == '1'
if ARGV[3] == '1' then
  redis.call('HSET', channel, mine, '1', 'blocked', '1')
elseif other then
  redis.call('HDEL', channel, mine)
else
  redis.call('HDEL', channel, mine, 'blocked')
end
if ARGV[3] == '0' and redis.call('HEXISTS', channel, 'seq') == 0 and may_be_lost(KEYS[2]) then
  redis.call('HSET', channel, mine, '0')
end
return 'ok'
