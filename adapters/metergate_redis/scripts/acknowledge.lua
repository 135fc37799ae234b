-- Entries that the ledger has: they leave the outbox.
--
-- KEYS[1]  the tag of the shard
-- ARGV     epoch, then the id of an entry and how many events it holds, in pairs; 0 where the sender does not know

local call = redis.call
local tag, GROUP = KEYS[1], 'ledger'
local OUT, WAITING = tag .. 'out', tag .. 'waiting'
local told, gone = {}, 0

if call('GET', tag .. 'epoch') ~= ARGV[1] then return 'E' end

local function events_of(id, count)
  if count ~= '0' then return tonumber(count) end
  local entry = call('XRANGE', OUT, id, id)[1]
  return entry and tonumber(entry[2][2]) or 0
end

for i = 2, #ARGV, 2 do
  local id = ARGV[i]
  local events = events_of(id, ARGV[i + 1])
  local left = call('XDEL', OUT, id) == 1
  call('XACK', OUT, GROUP, id)
  if left then gone = gone + events end
  told[#told + 1] = left and 'D' or 'U'
end
local waiting = math.max(0, tonumber(call('GET', WAITING) or '0') - gone)
if call('XLEN', OUT) == 0 then waiting = 0 end
if gone > 0 then call('SET', WAITING, string.format('%.0f', waiting)) end
return 'K' .. string.format('%.0f', waiting) .. ' ' .. table.concat(told)
