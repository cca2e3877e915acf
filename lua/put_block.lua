-- A user blocks another from now on, or no longer, as far as the user's own partition is concerned: see AccountVerbs.
--
-- KEYS  1 blocks  2 unsaved
-- ARGV  1 user  2 whom  3 1 blocks, 0 no longer
-- Reply 'ok'
--- include unsaved
redis.call(ARGV[3] == '1' and 'SADD' or 'SREM', KEYS[1], ARGV[2])
unsaved_since(KEYS[2], 'block ' .. ARGV[1] .. ' ' .. ARGV[2])
return 'ok'
