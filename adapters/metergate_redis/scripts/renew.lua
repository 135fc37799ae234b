-- Give open holds more time.
--
-- KEYS[1]  the tag of the shard
-- ARGV     epoch, when they expire now, the ops

local call = redis.call
local tag = KEYS[1]
local OPEN, expires = tag .. 'open', digits(checked(ARGV[2]))

if call('GET', tag .. 'epoch') ~= ARGV[1] then return 'E' end

local told = {}
for i = 3, #ARGV do
  local record = call('HGET', OPEN, ARGV[i])
  if record then call('HSET', OPEN, ARGV[i], with_expiry(record, expires)) end
  told[i - 2] = record and 'D' or 'U'
end
return 'K' .. table.concat(told)
