-- Adds a receipt to an inbox, as `push` does. A receipt says a member's watermarks as they are: what a later entry says as
-- well is no use to anyone. In an inbox that fills up, because some device is away, such entries are removed. Nothing is
-- lost by it, so `trimmed` stays. (That receipts push out no messages is `push`'s doing: for it they are counted.)
--
-- To cost next to nothing: one look a call, at the latest RECENT entries, by one receipt in LOOK_EVERY, as the clock has it (a
-- prime: what comes at regular intervals meets it too).
local RECENT, LOOK_EVERY = 128, 17
local looked = false

local function drop_superseded(inbox)
  local later, superseded = {}, {}
  for _, entry in ipairs(redis.call('XREVRANGE', inbox, '+', '-', 'COUNT', RECENT)) do
    local fields = entry[2]
    if fields[2] == 'receipt' then
      -- One's own are passed over by the device `via`: they stand for each other only when it is the same.
      local whose = fields[4] .. ' ' .. fields[6] .. ' ' .. fields[14]
      local delivered, read, known = tonumber(fields[8]), tonumber(fields[10]), later[whose]
      if not known then
        later[whose] = { delivered, read }
      elseif delivered <= known[1] and read <= known[2] then
        superseded[#superseded + 1] = entry[1]
      else -- told late, by a slower gateway
        later[whose] = { math.max(delivered, known[1]), math.max(read, known[2]) }
      end
    end
  end
  if #superseded > 0 then redis.call('XDEL', inbox, unpack(superseded)) end
end

local function push_receipt(inbox, devices, cap, ttl_ms, stamp, channel, user, delivered, read, via)
  redis.call('XLEN', inbox) -- of the wrong type: nothing is written
  redis.call('HINCRBY', devices, 'receipts', 1)
  local id, failed, held = push(inbox, devices, cap, ttl_ms, 'type', 'receipt', 'channel', channel, 'user', user,
    'delivered', delivered, 'read', read, 'ts', stamp, 'via', via)
  if id and held > RECENT and not looked and tonumber(stamp) % LOOK_EVERY == 0 then
    looked = true
    drop_superseded(inbox)
  end
  return id, failed
end
