-- Whether a channel that is missing here may have been lost: `born:{c}` says that the partition began on an empty archive.
-- Asked only of what is missing. The key is read, not written, and shares its tag with the log.
local function may_be_lost(log_key)
  return redis.call('EXISTS', 'born:' .. string.match(log_key, '{.*}')) == 0
end

-- How often the partition was lost, this time included; nil: nobody knows it yet (`lost.lua`). Read likewise.
local function losses_of(log_key)
  return tonumber(redis.call('GET', 'losses:' .. string.match(log_key, '{.*}')) or '')
end
