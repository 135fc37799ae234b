-- How a shard stands, for a process that looks.
--
-- KEYS[1]  the tag of the shard
-- ARGV     the server's run id, '' where it has none; the run id that the process met before
--
-- A server that was started again, or that took over from another, may have lost the last changes. Each start is
-- noted with the sequence it was met at: who has seen a later one knows that something is lost, also when the
-- sequence is higher again by now.

local call, match = redis.call, string.match
local tag, run, last = KEYS[1], ARGV[1], ARGV[2]
local KEPT = '-100'

local stored = call('MGET', tag .. 'epoch', tag .. 'seq', tag .. 'waiting')
local sequence = stored[2] or '0'
local met = sequence
if run ~= '' and stored[1] then
  local runs = call('LRANGE', tag .. 'runs', '0', '-1')
  if #runs == 0 or match(runs[#runs], '^%S+') ~= run then
    runs[#runs + 1] = run .. ' ' .. sequence
    call('RPUSH', tag .. 'runs', runs[#runs])
    call('LTRIM', tag .. 'runs', KEPT, '-1')
  end
  for i = #runs, 1, -1 do
    local name, at = match(runs[i], '^(%S+) (%d+)')
    if name == last then break end
    if last ~= '' and tonumber(at) < tonumber(met) then met = at end
  end
end
return { stored[1] or '', sequence, met, stored[3] or '0', call('HLEN', tag .. 'open') }
