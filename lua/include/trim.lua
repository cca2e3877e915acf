-- Removes what every device seen within `dormant_ms` has acked, and in any case what is older than that: an entry's
-- longest life. `all` is HGETALL of `devices`; both keys were read before.
local function trim_acked(inbox, devices, all, now, dormant_ms)
  local lowest, trimmed
  for i = 1, #all, 2 do
    local name = all[i]
    if name == 'trimmed' then
      trimmed = all[i + 1]
    elseif string.sub(name, 1, 7) == 'device:' then
      local acked, seen = string.match(all[i + 1], '^(%S+) (%d+)')
      if now - tonumber(seen) <= dormant_ms and (not lowest or compare(acked, lowest) < 0) then lowest = acked end
    end
  end
  if not lowest then return end
  lowest = max_id(lowest, string.format('%d-0', now - dormant_ms))
  if redis.call('XTRIM', inbox, 'MINID', above(lowest)) > 0 and (not trimmed or compare(trimmed, lowest) < 0) then
    redis.call('HSET', devices, 'trimmed', lowest)
  end
end
