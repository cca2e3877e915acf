-- Raises what members have received and read of their channels: watermarks, which only grow. Many in one call, each on its
-- own. Nothing that a watermark says makes an event, takes a sequence number, or is told to anyone here.
--
-- KEYS  for each: channel, unsaved, and for a group members and receipts
-- ARGV  for each: 'direct' or 'group' · user · the other one of a direct channel or '' · delivered · read
-- Reply for each {grown 0|1, delivered, read, number of members}: the watermarks as they are now. No further than the
--       channel's last seq; what is read has been received · {-1}: no such channel, no member, or one of the two has
--       blocked the other · {-2}: a key has the wrong type
--- include clock
--- include unsaved
local call, match, format = redis.call, string.match, string.format

local function raise(k, a)
  local user, delivered, read = ARGV[a + 1], tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local last, known, count, key, field
  if ARGV[a] == 'direct' then
    key, field = KEYS[k], 'receipt:' .. user
    local head = call('HMGET', key, 'seq', field, 'blocked')
    if not head[1] or head[3] then return { -1 } end
    last, known, count = tonumber(head[1]), head[2], user == ARGV[a + 2] and 1 or 2
  else
    key, field = KEYS[k + 3], user
    local member = call('HGET', KEYS[k + 2], user)
    if not member or string.sub(member, -1) ~= '-' then return { -1 } end
    local head = call('HMGET', KEYS[k], 'seq', 'member_count')
    if not head[1] then return { -1 } end
    last, known, count = tonumber(head[1]), call('HGET', key, field), tonumber(head[2])
  end
  local had, saw = 0, 0
  if known then
    had, saw = match(known, '^(%d+) (%d+)$')
    had, saw = tonumber(had), tonumber(saw)
  end
  if read > last then read = last end
  if read < saw then read = saw end
  if delivered > last then delivered = last end
  if delivered < had then delivered = had end
  if delivered < read then delivered = read end
  if delivered == had and read == saw then return { 0, had, saw, count } end
  call('HSET', key, field, format('%d %d', delivered, read))
  if read > saw then unsaved_read(KEYS[k + 1], match(KEYS[k], '}:(.+)$'), user) end
  return { 1, delivered, read, count }
end

local replies, k = {}, 1
for a = 1, #ARGV, 5 do
  local done, reply = pcall(raise, k, a)
  if not done then
    local text = type(reply) == 'table' and reply.err or tostring(reply)
    if not string.find(text, 'WRONGTYPE', 1, true) then return redis.error_reply(text) end
    reply = { -2 }
  end
  replies[#replies + 1] = reply
  k = k + (ARGV[a] == 'direct' and 2 or 4)
end
return replies
