-- Whether a channel that is missing here may have been lost: `born:{c}` says that the partition began on an empty archive.
-- Asked only of what is missing. The key is read, not written, and shares its tag with the log.
local function may_be_lost(log_key)
  return redis.call('EXISTS', 'born:' .. string.match(log_key, '{.*}')) == 0
end

-- What begins or goes on after a loss is given sequence numbers above the next multiple of this: what was accepted and
-- not archived had some of those below.
local STRIDE = 1048576
