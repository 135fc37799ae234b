-- The oldest entries of the outbox: those this consumer has not acknowledged, those of consumers that are gone,
-- and then those that nobody has.
--
-- KEYS[1]  the tag of the shard
-- ARGV     epoch, consumer, limit, milliseconds after which a consumer's entry goes to another

local call = redis.call
local tag, GROUP = KEYS[1], 'ledger'
local OUT = tag .. 'out'
local consumer, limit, idle = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local entries = {}

if call('GET', tag .. 'epoch') ~= ARGV[1] then return 'E' end

local function add(more)
  for _, entry in ipairs(more) do
    if entry and entry[2] then entries[#entries + 1] = { entry[1], entry[2][4] } end
  end
end

local function read(from)
  if #entries >= limit then return end
  local rest = tostring(limit - #entries)
  local got = call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', rest, 'STREAMS', OUT, from)
  -- One stream and its entries; fakeredis leaves the pair out that real servers put around the two.
  if got and got[1] then add(got[1][2] or got[2]) end
end

local function take_over()
  local cursor = '0-0'
  repeat
    if #entries >= limit then return end
    local got = call('XAUTOCLAIM', OUT, GROUP, consumer, idle, cursor, 'COUNT', tostring(limit - #entries))
    add(got[2])
    cursor = got[1]
  until cursor == '0-0'
end

if limit > 0 then
  read('0')
  take_over()
  read('>')
end
return { 'K', entries }
