-- Adds a receipt to an inbox, as `push` does. In one that fills up, because some device is away, those that later ones say
-- as well are removed. Nothing is lost by it, so `trimmed` stays. (That receipts push out no messages is `push`'s doing.)
--
-- To cost next to nothing: one look a call, at the latest RECENT entries, by one receipt in LOOK_EVERY, as the clock has it (a
-- prime: what comes at regular intervals meets it too).
local RECENT, LOOK_EVERY = 128, 17
local looked = false

local function drop_superseded(inbox)
  local _, superseded = receipts_of(redis.call('XREVRANGE', inbox, '+', '-', 'COUNT', RECENT))
  if #superseded > 0 then redis.call('XDEL', inbox, unpack(superseded)) end
end

local function push_receipt(inbox, devices, cap, ttl_ms, stamp, channel, user, delivered, read, via)
  local id, failed, held = push(inbox, devices, cap, ttl_ms, 'type', 'receipt', 'channel', channel, 'user', user,
    'delivered', delivered, 'read', read, 'ts', stamp, 'via', via)
  if id and held > RECENT and not looked and tonumber(stamp) % LOOK_EVERY == 0 then
    looked = true
    drop_superseded(inbox)
  end
  return id, failed
end
