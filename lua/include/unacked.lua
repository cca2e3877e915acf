-- Queues one wake-up for what a device has neither acked nor been woken for: messages of others in the inbox beyond both.
-- Counted among the latest 32 entries (more, while those are all of other kinds): a phone is not told of hundreds.
-- `session`: still the device's when given. Returns how many messages. Both keys were read before.
local function queue_unacked(inbox, devices, queue, user, device, session)
  local record = redis.call('HMGET', devices, 'device:' .. device, 'push:' .. device, 'pushed:' .. device)
  if not record[1] or not record[2] then return 0 end
  local after = string.match(record[1], '^%S+')
  if record[3] then after = max_id(after, record[3]) end

  local count, latest, content, name = 0, nil, nil, nil
  local to = '+'
  while count == 0 do
    local entries = redis.call('XREVRANGE', inbox, to, '(' .. after, 'COUNT', 32)
    for i = 1, #entries do
      local fields = entries[i][2]
      if fields[2] == 'message' and fields[10] ~= user then
        count = count + 1
        latest = latest or entries[i]
      end
    end
    if #entries < 32 then break end
    to = '(' .. entries[#entries][1]
  end
  if count == 0 then return 0 end

  local fields = latest[2]
  for i = 15, #fields, 2 do
    if fields[i] == 'content' then content = fields[i + 1] elseif fields[i] == 'name' then name = fields[i + 1] end
  end
  local entry = wakeup(user, device, fields[10], name, fields[4], fields[6], fields[8], content or '', latest[1], count,
    'after', after, 'session', session)
  local queued = queue_wakeup(queue, entry)
  if type(queued) == 'table' then return 0 end
  redis.call('HSET', devices, 'pushed:' .. device, latest[1])
  return count
end
