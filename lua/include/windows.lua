-- The dedupe windows of a channel that hold something, the latest first, once the present one does too. Those before the
-- last two are looked up no more.
local function windows_with(used, window)
  local kept = window
  for other in string.gmatch(used, '%d+') do
    if other ~= window and tonumber(other) >= window - 2 then kept = kept .. ' ' .. other end
  end
  return kept
end
