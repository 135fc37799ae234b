-- Put an epoch in the place of another: open a shard, or close one that has gone back.
--
-- KEYS[1]  the tag of the shard
-- ARGV     the epoch that is to be there, the one that takes its place

local epoch = KEYS[1] .. 'epoch'
if redis.call('GET', epoch) ~= ARGV[1] then return 'E' end
redis.call('SET', epoch, ARGV[2])
return 'K'
