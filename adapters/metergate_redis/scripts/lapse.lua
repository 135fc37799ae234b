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
  local draws = cjson.decode(read.draws)
  for d = 1, #draws - 1, DRAW do
    local key = draws[d + 1]
    local value = call('GET', key)
    if value then call('SET', key, digits(correct(draws, d, integer(value), 0))) end
  end
  if byte(record) == TWINNED then call('DEL', tag .. 't:' .. cjson.decode(read.twin)[1]) end
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
