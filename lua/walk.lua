-- Walks a channel's entries in the log backwards, each pointing at the one before.
--
-- KEYS  1 log
-- ARGV  1 log id to start from  2 lowest seq wanted  3 most hops  4 field that points: 'prev', or 'prior' from change to change
-- Reply {next id or '', {id, fields}, …} newest first; next id: where to go on, '' at the wanted seq, the channel's
--       first entry, or where the log is trimmed
local id, lowest, link = ARGV[1], tonumber(ARGV[2]), ARGV[4]
local reply = { '' }
for _ = 1, tonumber(ARGV[3]) do
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if not entry then return reply end
  local fields, seq, prev = entry[2], 0, '0-0'
  for i = 1, #fields, 2 do
    if fields[i] == 'seq' then seq = tonumber(fields[i + 1]) elseif fields[i] == link then prev = fields[i + 1] end
  end
  if seq < lowest then return reply end
  reply[#reply + 1] = entry
  if seq == lowest or prev == '0-0' then return reply end
  id = prev
end
reply[1] = id
return reply
