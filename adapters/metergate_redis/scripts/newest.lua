-- The newest entry of the outbox.
--
-- KEYS[1]  the tag of the shard
-- ARGV     epoch

local tag = KEYS[1]

if redis.call('GET', tag .. 'epoch') ~= ARGV[1] then return 'E' end

local entry = redis.call('XREVRANGE', tag .. 'out', '+', '-', 'COUNT', '1')[1]
return 'K' .. (entry and entry[1] or '')
