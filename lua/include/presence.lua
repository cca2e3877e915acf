-- Registers a session with its gateway, and its user as online: published only when that is news, not when the user has
-- another session or is back within the grace. Whatever of this cannot be written (a key of the wrong type) keeps nobody
-- from their messages. Returns 1 when the user was not online before.
local function serve(presence, leaving, served, gateways, gateway, user, device, session, stamp)
  redis.pcall('SADD', served, user .. ' ' .. device .. ' ' .. session)
  redis.pcall('HSETNX', gateways, gateway, stamp)
  redis.pcall('ZREM', leaving, user)
  if redis.pcall('HGET', presence, 'status') == 'online' then return 0 end
  if type(redis.pcall('HSET', presence, 'status', 'online', 'since', stamp)) ~= 'number' then return 0 end
  redis.pcall('SPUBLISH', presence, 'online ' .. stamp)
  return 1
end
