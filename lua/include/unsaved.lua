-- `unsaved:{p}`: what the archive has yet to be told of, by the ms from which on: `device <user> <device>`, `block <user>
-- <other>`, `read <channel> <user>`. How it is by then is read when it is written, so whatever happens meanwhile is written
-- once. Where the key has the wrong type the archive is not told; nobody is refused anything for that.
local function unsaved_since(unsaved, item)
  redis.pcall('ZADD', unsaved, 0, item)
end

-- Watermarks grow with every look into a conversation: written once in this time. While the archive is away no more than
-- this many wait; the others are written with the next one that grows.
local READS_EVERY_MS, MOST_UNSAVED = 60000, 100000
local reads_from = {} -- by unsaved key: from when on what grows in this call is to be archived; false: no more fit

local function unsaved_read(unsaved, channel, user)
  local due = reads_from[unsaved]
  if due == nil then
    local waiting = redis.pcall('ZCARD', unsaved)
    due = type(waiting) == 'number' and waiting < MOST_UNSAVED and now_ms() + READS_EVERY_MS
    reads_from[unsaved] = due
  end
  if due then redis.pcall('ZADD', unsaved, 'NX', due, 'read ' .. channel .. ' ' .. user) end
end

-- How it is now, as text; '': there is no such thing. The keys are read only, and share their tag with `unsaved`.
local function state_of(unsaved, item)
  local tag = string.match(unsaved, '{.*}')
  local kind, whose, what = string.match(item, '^(%S+) (%S+) (%S+)$')
  local value
  if kind == 'device' then
    value = redis.call('HGET', 'devices:' .. tag .. ':' .. whose, 'push:' .. what)
  elseif kind == 'block' then
    value = redis.call('SISMEMBER', 'blocks:' .. tag .. ':' .. whose, what) == 1 and '1'
  elseif kind == 'read' and string.sub(whose, 1, 3) == 'dm:' then
    value = redis.call('HGET', 'channel:' .. tag .. ':' .. whose, 'receipt:' .. what)
  elseif kind == 'read' then
    value = redis.call('HGET', 'receipts:' .. tag .. ':' .. whose, what)
  end
  return value or ''
end
