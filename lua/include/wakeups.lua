-- Wake-ups in `push:{u}`. `who`: the devices, by spaces; `offset`: the inbox entry up to which they are meant; `count`:
-- how many messages. Extra fields, by name and value: `after` (they begin beyond this offset; without it they are the one
-- entry at `offset`) and `session` (the devices' session at that moment: live, and not acking).
local function wakeup(user, who, sender, name, channel, seq, id, content, offset, count, ...)
  -- Enough for a line on a lock screen, and not through the middle of a character.
  local snippet = string.sub(content, 1, 240)
  if #snippet < #content then snippet = string.gsub(snippet, '[\192-\255][\128-\191]*$', '') end
  return { 'user', user, 'devices', who, 'sender', sender, 'sender_name', name or '', 'channel', channel, 'seq', seq,
    'id', id, 'snippet', snippet, 'offset', offset, 'count', count, ... }
end

-- Returns the entry's id, or a table with the error: nothing was written then. When nobody has taken wake-ups away for
-- long the oldest go: what they were for is hours old.
local function queue_wakeup(queue, entry)
  return redis.pcall('XADD', queue, 'MAXLEN', '~', 50000, '*', unpack(entry))
end
