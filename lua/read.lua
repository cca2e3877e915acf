-- Moves a reader's own watermark in one conversation and, when it moved, tells their other sessions.
--
-- KEYS  1 conversations  2 inbox  3 devices  4 sessions
-- ARGV  1 user  2 channel  3 seq  4 reading device or ''  5 bell prefix `bell:{u}:`  6 entries an inbox may hold
--       7 inbox TTL ms  8 entries a bell may hold
-- Reply {moved 0|1, read seq, unread} · {-1} when the user has no such conversation, or left it
--- include ids
--- include clock
--- include inbox
local conversations, inbox, devices, sessions = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local value = redis.call('HGET', conversations, ARGV[2])
local last, ts, unread, read = string.match(value or '', '^(%d+) (%d+) (%d+) (%d+)$')
if not last then return { -1 } end
last, unread, read = tonumber(last), tonumber(unread), tonumber(read)
local seq = math.min(tonumber(ARGV[3]), last)
if seq <= read then return { 0, read, unread } end

local live = redis.call('HGETALL', sessions)
unread = math.min(unread, last - seq)
local others, known = {}, {}
for i = 1, #live, 2 do
  local gateway = string.match(live[i + 1], '^%S+')
  if live[i] ~= ARGV[4] and not known[gateway] then
    known[gateway] = true
    others[#others + 1] = gateway
  end
end
if #others > 0 then
  redis.call('HLEN', devices)
  local digits = string.format('%d', seq)
  -- `via`: the session that reads this of the device itself passes it over
  local id, err = push(inbox, devices, tonumber(ARGV[6]), tonumber(ARGV[7]), 'type', 'receipt', 'channel', ARGV[2],
    'user', ARGV[1], 'delivered', digits, 'read', digits, 'ts', string.format('%d', now_ms()), 'via', ARGV[4])
  if not id then return redis.error_reply(err) end
end
redis.call('HSET', conversations, ARGV[2], string.format('%d %s %d %d', last, ts, unread, seq))
for _, gateway in ipairs(others) do
  redis.pcall('XADD', ARGV[5] .. gateway, 'MAXLEN', '~', ARGV[8], '*', 'users', ARGV[1])
  redis.pcall('PEXPIRE', ARGV[5] .. gateway, 60000)
end
return { 1, seq, unread }
