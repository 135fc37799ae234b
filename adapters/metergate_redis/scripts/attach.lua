-- How a shard stands, for a process that has just connected.
--
-- KEYS[1]  the tag of the shard
-- ARGV     the server's run id, '' where it has none
--
-- A server that was started again, or that took over, may have lost the last changes. The sequence at which it was
-- first met tells everybody who has seen a later one.

local call = redis.call
local tag, run = KEYS[1], ARGV[1]

local stored = call('MGET', tag .. 'epoch', tag .. 'seq', tag .. 'waiting')
local sequence = stored[2] or '0'
local met = sequence
if run ~= '' and stored[1] then
  call('HSETNX', tag .. 'runs', run, sequence)
  met = call('HGET', tag .. 'runs', run)
end
return { stored[1] or '', sequence, met, stored[3] or '0', call('HLEN', tag .. 'open') }
