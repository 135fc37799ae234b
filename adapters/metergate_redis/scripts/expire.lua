-- Holds whose time is over, each handed out again only once its lease has ended; and what time makes superfluous.
--
-- KEYS[1]  the tag of the shard
-- ARGV     epoch, now, limit, end of the lease, end of windows that nobody asks for, milliseconds that an ended
--          operation is remembered at least

local call = redis.call
local tag = KEYS[1]
local OPEN, ENDED, BEFORE, WINDOWS, CURSOR = tag .. 'open', tag .. 'ended', tag .. 'ended:before', tag .. 'windows', tag .. 'cursor'
local now, limit, lease, late, keep = checked(ARGV[2]), tonumber(ARGV[3]), checked(ARGV[4]), checked(ARGV[5]), tonumber(ARGV[6])
local AT_ONCE, PARTS = 1000, 16

if call('GET', tag .. 'epoch') ~= ARGV[1] then return 'E' end

local function forget_ended()
  local time = call('TIME')
  local at = tonumber(time[1]) * 1000 + floor(tonumber(time[2]) / 1000)
  local turned = tonumber(call('GET', tag .. 'turned') or '0')
  if at - turned < keep then return end
  call('SET', tag .. 'turned', digits(at))
  call('UNLINK', BEFORE)
  if call('EXISTS', ENDED) == 1 then call('RENAME', ENDED, BEFORE) end
end

local function forget_windows()
  local over = call('ZRANGEBYSCORE', WINDOWS, '-inf', digits(late), 'LIMIT', '0', tostring(AT_ONCE))
  for _, key in ipairs(over) do call('UNLINK', key) end
  if #over > 0 then call('ZREM', WINDOWS, unpack(over)) end
end

-- Few holds are looked through at once, many in parts: each is met once in so many rounds.
local function due()
  local open = call('HLEN', OPEN)
  local rest = math.max(AT_ONCE, math.ceil(open / PARTS))
  local cursor = open > AT_ONCE and call('GET', CURSOR) or '0'
  local found = {}
  repeat
    local scanned = call('HSCAN', OPEN, cursor, 'COUNT', tostring(AT_ONCE))
    for i = 1, #scanned[2], 2 do
      local op, record = scanned[2][i], scanned[2][i + 1]
      if #found == limit then return found, cursor end
      if at_most(integer(match(record, '^%S+ (%-?%d+)')), now) then found[#found + 1] = { op, record } end
    end
    cursor, rest = scanned[1], rest - AT_ONCE
  until cursor == '0' or rest <= 0
  return found, cursor
end

forget_ended()
forget_windows()
local found, cursor = due()
call('SET', CURSOR, cursor)
local told = {}
for i, each in ipairs(found) do
  local op, record = each[1], each[2]
  local read = read_record(record)
  told[i] = { op, read.request, read.dispatched, sub(record, read.terms), read.twin }
  call('HSET', OPEN, op, with_expiry(record, digits(lease)))
end
return { 'K', told }
