-- Puts a channel that was lost back, as the archive has it, if it is still missing. Only where a partition may have lost
-- something. Of one that the archive does not have only the log is prepared, and the blocks are put back.
--
-- KEYS  1 channel  2 members  3 receipts  4 dedupe of this window  5 log
-- ARGV  1 window number that KEYS[4] stands for  2 how often the partition was lost, as the fields were made for  3 number
--       of channel fields  4 of members  5 of receipts  6 of dedupe entries; then all of them, each a name and a value; then
--       who of the two of a direct channel blocks the other
-- Reply {'window', now ms}: the window is not the present one, nothing was done · {'rebuilt'} · {'present'} · {'lost'}: once
--       more, nothing was done
--- include clock
--- include born
local window, window_ms = ARGV[1], 1800000
local now = now_ms()
if math.floor(now / window_ms) ~= tonumber(window) then return { 'window', now } end
for k = 1, 4 do redis.call('HLEN', KEYS[k]) end -- of the wrong type: nothing is written
if redis.call('HEXISTS', KEYS[1], 'seq') == 1 or not may_be_lost(KEYS[5]) then return { 'present' } end
if losses_of(KEYS[5]) ~= tonumber(ARGV[2]) then return { 'lost' } end

-- A log that was lost: whoever still reads the one before it has a position of up to this millisecond.
if redis.call('EXISTS', KEYS[5]) == 0 then
  redis.call('XADD', KEYS[5], string.format('%d-0', now + 1), 'type', 'none')
  redis.call('XTRIM', KEYS[5], 'MAXLEN', 0)
end

local at = 7
local function put(key, pairs_of)
  local last = at + 2 * pairs_of - 1
  for i = at, last, 1000 do -- unpack has a bound
    redis.call('HSET', key, unpack(ARGV, i, math.min(i + 999, last)))
  end
  at = last + 1
end
local fields, dedupes = tonumber(ARGV[3]), tonumber(ARGV[6])
put(KEYS[1], fields)
put(KEYS[2], tonumber(ARGV[4]))
put(KEYS[3], tonumber(ARGV[5]))
put(KEYS[4], dedupes)
for i = at, #ARGV do
  local field = 'blocked:' .. ARGV[i]
  redis.call('HSETNX', KEYS[1], field, '1') -- there is '0' when it ended since: see block.lua
  if redis.call('HGET', KEYS[1], field) == '1' then redis.call('HSET', KEYS[1], 'blocked', '1') end
end
if fields == 0 then return { 'present' } end
if dedupes > 0 then
  redis.call('HSET', KEYS[1], 'dedupe', window)
  redis.call('PEXPIRE', KEYS[4], 3 * window_ms)
end
return { 'rebuilt' }
