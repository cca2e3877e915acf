-- Raises what members have received and read of their channels: watermarks, which only grow. Many in one call, each on its
-- own; those of one group are looked up and written together. Nothing that a watermark says makes an event, takes a sequence
-- number, or is told to anyone here.
--
-- KEYS  for each direct channel's, and for each group: channel, unsaved, and for a group members and receipts
-- ARGV  for each likewise: 1 (notes to oneself) or 2, how many members the direct channel has, or 'group' and the number of
--       watermarks; then for each: user · delivered · read
-- Reply for each watermark {grown 0|1, delivered, read, number of members}: as it is now. No further than the channel's
--       last seq; what is read has been received · {-1}: no such channel, no member, or one of the two has blocked the
--       other · {-2}: a key has the wrong type
--- include clock
--- include unsaved
local call, match, format = redis.call, string.match, string.format

-- The watermarks of ARGV[a + 1] and ARGV[a + 2] upon what is known: grown 0|1, delivered, read, and whether more is read.
local function raised(known, last, a)
  local had, saw, delivered, read = 0, 0, tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  if known then
    had, saw = match(known, '^(%d+) (%d+)$')
    had, saw = tonumber(had), tonumber(saw)
  end
  if read > last then read = last end
  if read < saw then read = saw end
  if delivered > last then delivered = last end
  if delivered < had then delivered = had end
  if delivered < read then delivered = read end
  return (delivered ~= had or read ~= saw) and 1 or 0, delivered, read, read > saw
end

local function archive(k, user)
  unsaved_read(KEYS[k + 1], match(KEYS[k], '}:(.+)$'), user)
end

local function raise_direct(k, a, members)
  local user = ARGV[a]
  local field = 'receipt:' .. user
  local head = call('HMGET', KEYS[k], 'seq', field, 'blocked')
  if not head[1] or head[3] then return { -1 } end
  local grown, delivered, read, news = raised(head[2], tonumber(head[1]), a)
  if grown == 1 then call('HSET', KEYS[k], field, format('%d %d', delivered, read)) end
  if news then archive(k, user) end
  return { grown, delivered, read, members }
end

-- The n watermarks that begin at ARGV[a]; appends their replies.
local function raise_group(k, a, n, replies)
  local users, some, changes, now = {}, {}, {}, {}
  for i = 1, n do users[i] = ARGV[a + 3 * i - 3] end
  local members, known = call('HMGET', KEYS[k + 2], unpack(users)), call('HMGET', KEYS[k + 3], unpack(users))
  local head = call('HMGET', KEYS[k], 'seq', 'member_count')
  for i, user in ipairs(users) do
    if not head[1] or not members[i] or string.sub(members[i], -1) ~= '-' then
      some[i] = { -1 }
    else
      -- Of one member there may be two.
      local grown, delivered, read, news = raised(now[user] or known[i], tonumber(head[1]), a + 3 * i - 3)
      if grown == 1 then
        now[user] = format('%d %d', delivered, read)
        changes[#changes + 1] = user
        changes[#changes + 1] = now[user]
      end
      some[i] = { grown, delivered, read, tonumber(head[2]), news }
    end
  end
  if #changes > 0 then call('HSET', KEYS[k + 3], unpack(changes)) end
  for i, user in ipairs(users) do
    if some[i][5] then archive(k, user) end
    some[i][5] = nil
    replies[#replies + 1] = some[i]
  end
end

local replies, k, a = {}, 1, 1
while a <= #ARGV do
  local group = ARGV[a] == 'group'
  local n = group and tonumber(ARGV[a + 1]) or 1
  local done, reply
  if group then
    done, reply = pcall(raise_group, k, a + 2, n, replies)
    k, a = k + 4, a + 2 + 3 * n
  else
    done, reply = pcall(raise_direct, k, a + 1, tonumber(ARGV[a]))
    k, a = k + 2, a + 4
    if done then replies[#replies + 1] = reply end
  end
  if not done then
    local text = type(reply) == 'table' and reply.err or tostring(reply)
    if not string.find(text, 'WRONGTYPE', 1, true) then return redis.error_reply(text) end
    for _ = 1, n do replies[#replies + 1] = { -2 } end
  end
end
return replies
