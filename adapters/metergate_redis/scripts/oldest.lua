-- The oldest entries of the outbox, whoever is about to post them.
--
-- KEYS[1]  the tag of the shard
-- ARGV     epoch, limit

local tag = KEYS[1]
local entries = {}

if redis.call('GET', tag .. 'epoch') ~= ARGV[1] then return 'E' end

for i, entry in ipairs(redis.call('XRANGE', tag .. 'out', '-', '+', 'COUNT', ARGV[2])) do
  entries[i] = { entry[1], entry[2][4] }
end
return { 'K', entries }
