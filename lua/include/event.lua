-- Appends the channel's next event to the log and moves the channel's head. `extra` are the fields after `prev` and `mv`.
-- Nothing that can fail comes after the XADD: the caller has read every key that is written here.
local function append_event(channel_key, log_key, head, kind, channel, id, from, client_id, now, mv, extra)
  local seq = (tonumber(head.seq) or 0) + 1
  local fields = {
    'type', kind, 'channel', channel, 'seq', string.format('%d', seq), 'id', id, 'from', from, 'cid', client_id,
    'ts', string.format('%d', now), 'prev', head.last or '0-0', 'mv', string.format('%d', mv < 0 and seq or mv),
  }
  for _, value in ipairs(extra) do fields[#fields + 1] = value end
  local log_id = redis.call('XADD', log_key, '*', unpack(fields))
  redis.call('HSET', channel_key, 'seq', string.format('%d', seq), 'last', log_id)
  head.seq, head.last = seq, log_id
  return seq, log_id
end
