-- Adds one entry to an inbox and keeps its bounds. Returns the new id, or false and the error; on an error nothing was
-- written. `trimmed` in `devices` is raised over whatever is removed, so that no gap is ever silent.
local function push(inbox, devices, fields, cap, ttl_ms)
  local existed = redis.pcall('EXISTS', inbox)
  local id = redis.pcall('XADD', inbox, '*', unpack(fields))
  if type(id) == 'table' then return false, id.err end
  if existed == 0 then
    -- Expired, or never there: what an older offset might have missed can no longer be told.
    redis.call('HSET', devices, 'trimmed', below(id))
  end
  local over = redis.call('XLEN', inbox) - cap
  if over > 0 then
    local removed = redis.call('XRANGE', inbox, '-', '+', 'COUNT', over)
    redis.call('XTRIM', inbox, 'MAXLEN', cap)
    redis.call('HSET', devices, 'trimmed', removed[#removed][1])
  end
  redis.call('PEXPIRE', inbox, ttl_ms)
  return id
end
