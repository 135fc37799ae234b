-- Holds whose calls never went on: what they had set aside is given back, and nothing of them is remembered.
--
-- KEYS[1]  the tag of the shard
-- ARGV     epoch, the ops

local call = redis.call
local tag = KEYS[1]
local OPEN = tag .. 'open'
local told, gone = {}, false

if call('GET', tag .. 'epoch') ~= ARGV[1] then return 'E' end

local function give_back(op, record, read)
  for _, draw in ipairs(cjson.decode(read.template)[3]) do
    local value = call('GET', draw[KEY])
    if value then call('SET', draw[KEY], digits(correct(draw, integer(value), 0))) end
  end
  if has_twin(record) then call('DEL', tag .. 't:' .. cjson.decode(read.twin)[1]) end
  call('HDEL', OPEN, op)
end

for i = 2, #ARGV do
  local record = call('HGET', OPEN, ARGV[i])
  local read = record and read_record(record)
  local never = read and read.dispatched == '0'
  if never then give_back(ARGV[i], record, read) end
  told[i - 1], gone = never and 'D' or 'U', gone or never
end
if gone then call('INCR', tag .. 'seq') end
return 'K' .. table.concat(told)
