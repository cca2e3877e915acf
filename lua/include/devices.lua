-- A known device has a `device:` field (it has connected), a `push:` field (it has a token), or both.

-- Removes a device's token. `pushable` names the others that have one; without it nobody looks for any. Before this:
-- `include unsaved`.
local function remove_token(devices, device, unsaved, user)
  unsaved_since(unsaved, 'device ' .. user .. ' ' .. device)
  redis.call('HDEL', devices, 'push:' .. device, 'pushed:' .. device)
  local left = {}
  for other in string.gmatch(redis.call('HGET', devices, 'pushable') or '', '%S+') do
    if other ~= device then left[#left + 1] = other end
  end
  if #left > 0 then
    redis.call('HSET', devices, 'pushable', table.concat(left, ' '))
  else
    redis.call('HDEL', devices, 'pushable')
  end
end

local function forget(devices, device, unsaved, user)
  redis.call('HDEL', devices, 'device:' .. device)
  remove_token(devices, device, unsaved, user)
end

-- One more device than `most` displaces the one unseen longest that is not connected. `sessions`: HGETALL of it.
local function make_room(devices, sessions, device, most, unsaved, user)
  local connected, seen, known = {}, {}, 0
  for i = 1, #sessions, 2 do connected[sessions[i]] = true end
  local all = redis.call('HGETALL', devices)
  for i = 1, #all, 2 do
    local kind, name = string.match(all[i], '^(%a+):(.+)$')
    if (kind == 'device' or kind == 'push') and name ~= device then
      if not seen[name] then known = known + 1 end
      seen[name] = math.max(seen[name] or 0, kind == 'device' and tonumber(string.match(all[i + 1], ' (%d+)')) or 0)
    end
  end
  while known >= most do
    local oldest
    for name, at in pairs(seen) do
      -- Of two that were never seen the same one is found each time.
      if not connected[name] and (not oldest or at < seen[oldest] or (at == seen[oldest] and name < oldest)) then
        oldest = name
      end
    end
    if not oldest then return end
    forget(devices, oldest, unsaved, user)
    seen[oldest], known = nil, known - 1
  end
end
