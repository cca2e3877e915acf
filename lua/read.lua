-- Moves readers' own marks in their conversation lists and, where one moved, tells the reader's other sessions. Many in one
-- call, each on its own. What the other members see of it is the channel's: raise.lua.
--
-- KEYS  for each: conversations, inbox, devices, sessions
-- ARGV  1 entries an inbox may hold  2 inbox TTL ms  3 entries a bell may hold; then for each
--       user · channel · seq · delivered watermark or 0 · reading device or '' · bell prefix `bell:{u}:`
-- Reply for each {moved 0|1, read seq, unread} · {-1}: the user has no such conversation, or left it · {'error', text}
--- include ids
--- include clock
--- include inbox
--- include receipt
--- include bells
local cap, ttl_ms, bell_cap = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local stamp = string.format('%d', now_ms())

local function move(k, a)
  local conversations, inbox, devices, sessions = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local user, channel, device, prefix = ARGV[a], ARGV[a + 1], ARGV[a + 4], ARGV[a + 5]
  local value = redis.call('HGET', conversations, channel)
  local last, ts, unread, read = string.match(value or '', '^(%d+) (%d+) (%d+) (%d+)$')
  if not last then return { -1 } end
  last, unread, read = tonumber(last), tonumber(unread), tonumber(read)
  local seq = math.min(tonumber(ARGV[a + 2]), last)
  if seq <= read then return { 0, read, unread } end

  local live = redis.call('HGETALL', sessions)
  unread = math.min(unread, last - seq)
  local others = {}
  for i = 1, #live, 2 do
    if live[i] ~= device then others[#others + 1] = live[i + 1] end
  end
  if #others > 0 then
    redis.call('XLEN', inbox) -- of the wrong type, either: nothing is written
    redis.call('HLEN', devices)
    -- `via`: the session that reads this of the device itself passes it over
    local id, err = push_receipt(inbox, devices, cap, ttl_ms, stamp, channel, user,
      string.format('%d', math.max(seq, tonumber(ARGV[a + 3]))), string.format('%d', seq), device)
    if not id then return { 'error', err } end
  end
  redis.call('HSET', conversations, channel, string.format('%d %s %d %d', last, ts, unread, seq))
  for _, session in ipairs(others) do ring(prefix, user, session) end
  return { 1, seq, unread }
end

local replies = {}
for n = 0, #KEYS / 4 - 1 do
  local done, reply = pcall(move, 4 * n + 1, 6 * n + 4)
  if not done then reply = { 'error', type(reply) == 'table' and reply.err or tostring(reply) } end
  replies[n + 1] = reply
end
ring_all(bell_cap)
return replies
