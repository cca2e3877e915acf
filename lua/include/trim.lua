-- Removes what every device seen within `dormant_ms` has acked. `all` is HGETALL of `devices`.
local function trim_acked(inbox, devices, all, now, dormant_ms)
  local lowest
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 7) == 'device:' then
      local acked, seen = string.match(all[i + 1], '^(%S+) (%d+)')
      if now - tonumber(seen) <= dormant_ms and (not lowest or compare(acked, lowest) < 0) then lowest = acked end
    end
  end
  if lowest and redis.call('XTRIM', inbox, 'MINID', above(lowest)) > 0 then
    local trimmed = redis.call('HGET', devices, 'trimmed') or '0-0'
    redis.call('HSET', devices, 'trimmed', max_id(trimmed, lowest))
  end
end
