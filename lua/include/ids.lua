-- Stream ids as two numbers: as text "9-0" would come after "10-0".
local function split(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end

local function compare(a, b)
  if a == b then return 0 end
  local am, an = split(a)
  local bm, bn = split(b)
  if am ~= bm then return am < bm and -1 or 1 end
  if an ~= bn then return an < bn and -1 or 1 end
  return 0
end

local function max_id(a, b)
  return compare(a, b) >= 0 and a or b
end

-- The greatest id that Redis itself would give before `id` (a millisecond never holds this many entries).
local function below(id)
  local ms, n = split(id)
  if n > 0 then return string.format('%d-%d', ms, n - 1) end
  return string.format('%d-%d', ms - 1, 999999999)
end

local function above(id)
  local ms, n = split(id)
  return string.format('%d-%d', ms, n + 1)
end
