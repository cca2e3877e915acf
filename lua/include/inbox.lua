-- Adds one entry (`...`: its fields) to an inbox and keeps its bounds. Returns the new id, nil, and how many entries there
-- are; or false and the error when nothing was written; raises what fails later (`added` has the entry then). The caller
-- has read `devices`. `trimmed` there is raised over whatever is removed, so that no gap is ever silent; it is never lowered.
local function raise_trimmed(devices, id)
  local present = redis.call('HGET', devices, 'trimmed')
  if not present or compare(present, id) < 0 then redis.call('HSET', devices, 'trimmed', id) end
end

-- Of entries, the newest first: the receipts, newest first, that say what no later one says as well; and the others, which
-- are no use to anyone. A receipt says a member's watermarks as they are. One's own are passed over by the device `via`: they
-- stand for each other only when it is the same.
local function receipts_of(entries)
  local later, standing, superseded = {}, {}, {}
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    if fields[2] == 'receipt' then
      local whose = fields[4] .. ' ' .. fields[6] .. ' ' .. fields[14]
      local delivered, read, known = tonumber(fields[8]), tonumber(fields[10]), later[whose]
      if known and delivered <= known[1] and read <= known[2] then
        superseded[#superseded + 1] = entry[1]
      else
        -- Known, and says more all the same: it was told late, by a slower gateway.
        known = known or { 0, 0 }
        later[whose] = { math.max(delivered, known[1]), math.max(read, known[2]) }
        standing[#standing + 1] = entry[1]
      end
    end
  end
  return standing, superseded
end

-- Receipts do not push out messages: of those counted in `devices` (more than there are, never fewer) an inbox has this many
-- beyond its bound, and then all go but the latest few. They are counted only in an inbox that is a quarter full: when it
-- becomes so, so many more than there may be are taken for counted that a full one looks how many there are. `dropped` in
-- `devices`: the latest that went though nothing later says the same. For who comes back that is no gap: receipts are state.
-- A live session that had not read so far is told of one: it finds at least RECEIPTS_KEPT receipts (hub.ts counts them),
-- since whatever supersedes one is one.
local RECEIPTS, RECEIPTS_KEPT = 64, 16

local function drop_receipts(inbox, devices, held)
  local standing, gone = receipts_of(redis.call('XREVRANGE', inbox, '+', '-'))
  local all = #standing + #gone
  if all <= RECEIPTS then -- more were counted than there are
    redis.call('HSET', devices, 'receipts', all)
    return held, all
  end
  local kept = math.min(#standing, RECEIPTS_KEPT)
  redis.call('HSET', devices, 'receipts', kept)
  if #standing > kept then redis.call('HSET', devices, 'dropped', standing[kept + 1]) end
  for i = kept + 1, #standing do gone[#gone + 1] = standing[i] end
  if #gone > 0 then held = held - redis.call('XDEL', inbox, unpack(gone)) end
  return held, kept
end

-- What this call has added so far: key, id, key, id … Whoever has to stop in the middle takes it back.
local added = {}

local function push(inbox, devices, cap, ttl_ms, ...)
  local id = redis.pcall('XADD', inbox, '*', ...)
  if type(id) == 'table' then return false, id.err end
  added[#added + 1] = inbox
  added[#added + 1] = id
  local held = redis.call('XLEN', inbox)
  if 4 * held > cap then
    if 4 * (held - 1) <= cap then
      redis.call('HSET', devices, 'receipts', held + RECEIPTS)
    elseif select(2, ...) == 'receipt' then
      redis.call('HINCRBY', devices, 'receipts', 1)
    end
  end
  if held == 1 and redis.call('PTTL', inbox) == -1 then
    -- Every inbox has a TTL: this one is new, because it expired or was never there. What an older offset might have
    -- missed can no longer be told. Should the clock have gone back, the entry must still come after every offset.
    local trimmed = redis.call('HGET', devices, 'trimmed')
    if trimmed and compare(trimmed, id) >= 0 then
      redis.call('XTRIM', inbox, 'MAXLEN', 0)
      redis.call('XSETID', inbox, trimmed)
      id = redis.call('XADD', inbox, '*', ...)
      added[#added] = id
    end
    raise_trimmed(devices, below(id))
  elseif held > cap then
    local receipts = tonumber(redis.call('HGET', devices, 'receipts') or 0)
    if receipts > RECEIPTS then held, receipts = drop_receipts(inbox, devices, held) end
    local room = cap + receipts
    if held > room then
      local removed = redis.call('XRANGE', inbox, '-', '+', 'COUNT', held - room)
      raise_trimmed(devices, removed[#removed][1]) -- first: a gap told for nothing is better than one not told
      redis.call('XTRIM', inbox, 'MAXLEN', room)
    end
  end
  -- Seldom enough to cost nothing, often enough for seven days; attaches and sweeps renew it too.
  if held % 8 == 1 or held > cap then redis.call('PEXPIRE', inbox, ttl_ms) end
  return id, nil, held
end
