-- Tells users of others' watermarks, or of their own on another device: an inbox entry, and a ring, where a session lives.
-- Receipts are state: who is away reads them later, with the conversation list; and what is told may wait a moment, for
-- something else to the same user.
--
-- KEYS  for each user: inbox, devices, sessions
-- ARGV  1 entries an inbox may hold  2 inbox TTL ms  3 entries a bell may hold; then for each user
--       user · bell prefix `bell:{u}:` · number of receipts; then for each
--         channel · whose · delivered · read · the device that need not be told (of one's own), or ''
-- Reply number of entries written. A key of the wrong type is passed over: deliver.lua sets its user aside
--- include ids
--- include clock
--- include inbox
--- include receipt
--- include bells
local cap, ttl_ms, bell_cap = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local stamp = string.format('%d', now_ms())
local written = 0

local a = 4
for k = 1, #KEYS, 3 do
  local user, prefix, count = ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 2])
  a = a + 3
  local live = redis.pcall('HGETALL', KEYS[k + 2])
  if live.err then live = {} end
  local told = false
  for r = a, a + 5 * count - 5, 5 do
    if #live > 2 or (#live == 2 and live[1] ~= ARGV[r + 4]) then
      local done, id, failed = pcall(push_receipt, KEYS[k], KEYS[k + 1], cap, ttl_ms, stamp, ARGV[r], ARGV[r + 1],
        ARGV[r + 2], ARGV[r + 3], ARGV[r + 4])
      if not done then failed = type(id) == 'table' and id.err or tostring(id) end
      if failed and not string.find(failed, 'WRONGTYPE', 1, true) then return redis.error_reply(failed) end
      if not failed then
        written = written + 1
        told = true
      end
    end
  end
  for i = 2, told and #live or 0, 2 do ring(prefix, user, live[i]) end
  a = a + 5 * count
end

ring_all(bell_cap, 'later', '1')
return written
