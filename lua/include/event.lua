-- Appends a channel's next event to the log; `extra` are the fields after `prev` and `mv`. Moves `head` ({seq, last}) and
-- returns it as it must be stored: seq, log id, and the event's time, all as text. The caller writes `seq` and `last` into
-- the channel's hash at once: it has read every key that it writes, so nothing that can fail comes after the XADD.
--
-- An event's time is the millisecond of its log id. The id is therefore made of `now`, and not by `*`, which may see the
-- next millisecond; with a clock that went back, time stands still instead. `mv` below 0: this event makes the version.
local function append_event(log_key, head, kind, channel, id, from, client_id, now, mv, extra)
  local seq = string.format('%d', (tonumber(head.seq) or 0) + 1)
  local version = mv < 0 and seq or string.format('%d', mv)
  local function add(stamp)
    return redis.pcall('XADD', log_key, stamp .. '-*', 'type', kind, 'channel', channel, 'seq', seq, 'id', id,
      'from', from, 'cid', client_id, 'ts', stamp, 'prev', head.last or '0-0', 'mv', version, unpack(extra))
  end
  local stamp = string.format('%d', now)
  local log_id = add(stamp)
  if type(log_id) == 'table' and string.find(log_id.err, 'equal or smaller', 1, true) then
    local info = redis.call('XINFO', 'STREAM', log_key)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then stamp = string.match(info[i + 1], '^%d+') end
    end
    log_id = add(stamp)
  end
  if type(log_id) == 'table' then error(log_id) end
  head.seq, head.last = seq, log_id
  return seq, log_id, stamp
end
