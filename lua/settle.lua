-- Makes users offline whose last session ended longer than the grace ago, unless one came back.
--
-- KEYS  1 leaving (zset: user → ms when their last session ended), then for each user: sessions, presence
-- ARGV  1 grace ms  2… the users
-- Reply for each user 1 offline from now on, and published · 0 not: back, not due, or done already
--- include clock
local leaving = KEYS[1]
local due = now_ms() - tonumber(ARGV[1])
local replies = {}
for i = 2, #ARGV do
  local user, sessions, presence = ARGV[i], KEYS[2 * i - 2], KEYS[2 * i - 1]
  local ended = tonumber(redis.call('ZSCORE', leaving, user) or nil)
  local settled = 0
  if ended and ended <= due then
    -- Sessions of the wrong type serve nobody.
    local back = redis.pcall('HLEN', sessions)
    if type(back) ~= 'number' or back == 0 then
      local stamp = string.format('%d', ended)
      local before = redis.pcall('HGET', presence, 'status')
      if type(redis.pcall('HSET', presence, 'status', 'offline', 'since', stamp)) == 'number' and before ~= 'offline' then
        redis.pcall('SPUBLISH', presence, 'offline ' .. stamp)
        settled = 1
      end
    end
    redis.call('ZREM', leaving, user)
  end
  replies[#replies + 1] = settled
end
return replies
