-- What the calls of one turn of an event loop want, all at once: ends first, then holds.
--
-- KEYS[1]  the tag that begins every key of the shard
-- ARGV     epoch, sequence seen, backlog, now, number of groups, number of templates;
--          releases, and dispatches: an op a line;
--          holds: 'template now expires dispatched twin length op request' a line;
--          per group of settles: 'digest answer amounts op' a line, how many, and their joined events;
--          per template: 'generation account' and its draws, a line each; and its terms;
--          twins and answers, which the lines name by their place among them.
--
-- First everything is read and decided, then everything is written: a script is not rolled back.

local call, pcall, gmatch, concat, byte = redis.call, redis.pcall, string.gmatch, table.concat, string.byte
local tag = KEYS[1]
local OPEN, ENDED, BEFORE, BUDGET, TWIN = tag .. 'open', tag .. 'ended', tag .. 'ended:before', tag .. 'b:', tag .. 't:'
local EPOCH, SEQUENCE, WAITING = tag .. 'epoch', tag .. 'seq', tag .. 'waiting'
local epoch, seen, backlog, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), checked(ARGV[4])
local groups, templates = tonumber(ARGV[5]), tonumber(ARGV[6])
local RELEASES, DISPATCHES, HOLDS, FIRST_GROUP = 7, 8, 9, 10
local FIRST_TEMPLATE = FIRST_GROUP + 3 * groups
local EXTRA = FIRST_TEMPLATE + 2 * templates - 1
local PORTION = 4000
local SETTLE_LINE = '(%d+) (%d+) (%S+) ([^\n]*)\n'
local HOLD_LINE = '(%d+) (%-?%d+) (%-?%d+) (%d) (%d+) (%d+) ([^\n]*)\n'

-- Ask for, or tell, many keys or fields, in portions that Lua's stack can carry.
local function ask(list, command, key)
  local found = {}
  for first = 1, #list, PORTION do
    local last = math.min(first + PORTION - 1, #list)
    local got = key and call(command, key, unpack(list, first, last)) or call(command, unpack(list, first, last))
    for i = first, last do found[list[i]] = got[i - first + 1] end
  end
  return found
end

local function tell(list, command, key)
  for first = 1, #list, PORTION do
    local last = math.min(first + PORTION - 1, #list)
    if key then call(command, key, unpack(list, first, last)) else call(command, unpack(list, first, last)) end
  end
end

-- 1. What the holds of the turn have in common, and the budgets that they draw from.

local kinds, keys = {}, { EPOCH, SEQUENCE, WAITING }
for i = 1, templates do
  local text, terms = ARGV[FIRST_TEMPLATE + 2 * i - 2], ARGV[FIRST_TEMPLATE + 2 * i - 1]
  local generation, account, start = match(text, '^(%-?%d+) ([^\n]*)\n()')
  local draws = parse_draws(text, start)
  kinds[i] = { length = #text, contents = text .. terms, generation = generation, known = tag .. 'g:' .. account, draws = draws }
  keys[#keys + 1] = kinds[i].known
  for _, draw in ipairs(draws) do
    draw.key = BUDGET .. draw.name
    keys[#keys + 1] = draw.key
  end
end
local stored = ask(keys, 'MGET')
if stored[EPOCH] ~= epoch then return 'E' end
local sequence = tonumber(stored[SEQUENCE] or '0')
if sequence < seen then return 'L' end
local waiting = tonumber(stored[WAITING] or '0')

local values, changed = {}, {}
local function value_of(key)
  local value = values[key]
  if value == nil then
    local text = stored[key]
    if text == nil then text = call('GET', key) end
    value = text and integer(text)
    values[key] = value
  end
  return value
end

local function put(key, value)
  values[key], changed[key] = value, true
end

-- 2. What is known of every op of the turn.

local ops, held, holds = {}, {}, {}
for section = RELEASES, DISPATCHES do
  for op in gmatch(ARGV[section], '([^\n]*)\n') do ops[#ops + 1] = op end
end
for i = 1, groups do
  for _, _, _, op in gmatch(ARGV[FIRST_GROUP + 3 * i - 3], SETTLE_LINE) do ops[#ops + 1] = op end
end
for kind, at, expires, dispatched, twin, length, text in gmatch(ARGV[HOLDS], HOLD_LINE) do
  local op, request = text, text
  if length ~= '0' then op, request = sub(text, 1, length), sub(text, length + 1) end
  kind, twin = kinds[tonumber(kind)], twin ~= '0' and ARGV[EXTRA + twin] or ''
  ops[#ops + 1], held[#held + 1] = op, op
  holds[#holds + 1] = {
    op = op, kind = kind, now = integer(at), expires = expires, dispatched = dispatched, twin = twin,
    contents = twin .. '\n' .. dispatched .. request .. '\n' .. kind.contents,
  }
end
local open, ended, before = ask(ops, 'HMGET', OPEN), ask(held, 'HMGET', ENDED), ask(held, 'HMGET', BEFORE)

local function how_ended(op)
  if ended[op] == nil then ended[op], before[op] = call('HGET', ENDED, op), call('HGET', BEFORE, op) end
  return ended[op] or before[op]
end

-- 3. Ends.

local opened, closed, endings, entries, twins, twin_writes, news = {}, {}, {}, {}, {}, {}, {}

local function twin_text(id)
  if twins[id] == nil then twins[id] = call('GET', TWIN .. id) end
  return twins[id]
end

local function write_twin(id, text, lives)
  twins[id] = text
  twin_writes[#twin_writes + 1] = { TWIN .. id, text, lives }
end

local function finish(op, how)
  open[op], opened[op] = false, nil
  closed[#closed + 1] = op
  ended[op] = how
  endings[#endings + 1], endings[#endings + 2] = op, how
end

-- Put what a call came to in the place of what it held; without amounts it came to nothing.
local function correct_all(record, amounts)
  for i, draw in ipairs(draws_of(record)) do
    local key = BUDGET .. draw.name
    local value = value_of(key)
    if value then put(key, correct(draw, value, amounts and amounts[i] or 0)) end
  end
end

local function settle(op, digest, answer, amounts)
  local record = open[op]
  if amounts ~= '-' then
    local actual = {}
    for amount in gmatch(amounts, '%-?%d+') do actual[#actual + 1] = integer(amount) end
    correct_all(record, actual)
  end
  if byte(record) == 116 then  -- t
    local id, fingerprint, till = read_twin(read_record(record).twin)
    local lives = minus(integer(till), now)
    write_twin(id, done_twin(till, fingerprint, answer ~= '0' and ARGV[EXTRA + answer]), at_most(1000000, lives) and lives or 1000000)
  end
  finish(op, 's' .. digest)
end

local function all_open(lines)
  local seen_here = {}
  for _, _, _, op in gmatch(lines, SETTLE_LINE) do
    if not open[op] or seen_here[op] then return false end
    seen_here[op] = true
  end
  return true
end

-- One that is not open was settled before, the same way or another; of several the sender has to ask one by one.
local function not_open(lines, count)
  if count ~= '1' then return '?' end
  local digest, _, _, op = match(lines, SETTLE_LINE)
  local how = how_ended(op)
  if not how or how == 'v' then return 'U' end
  return how == 's' .. digest and 'D' or 'C'
end

for i = 1, groups do
  local first = FIRST_GROUP + 3 * i - 3
  local lines, count = ARGV[first], ARGV[first + 1]
  if all_open(lines) then
    for digest, answer, amounts, op in gmatch(lines, SETTLE_LINE) do settle(op, digest, answer, amounts) end
    entries[#entries + 1] = first
    waiting = waiting + tonumber(count)
    news[#news + 1] = 'D'
  else
    news[#news + 1] = not_open(lines, count)
  end
end

-- What nobody knows is remembered: a hold that was on its way, and comes after its release, must not be taken.
local function release(op)
  local record = open[op]
  if record then
    correct_all(record)
    if byte(record) == 116 then write_twin(read_twin(read_record(record).twin), false) end
    finish(op, 'r')
    return 'D'
  end
  local how = how_ended(op)
  if not how then finish(op, 'v') end
  return (not how or how == 'v') and 'U' or how == 'r' and 'D' or 'C'
end

for op in gmatch(ARGV[RELEASES], '([^\n]*)\n') do news[#news + 1] = release(op) end

for op in gmatch(ARGV[DISPATCHES], '([^\n]*)\n') do
  if open[op] then
    open[op] = sub(open[op], 1, 1) .. '1' .. sub(open[op], 3)
    opened[op] = open[op]
  end
end

-- 4. The first write tells whether the server takes any: one that is full still takes ends, but no holds.

local full = false
sequence = sequence + 1
local wrote = pcall('SET', SEQUENCE, digits(sequence))
if wrote.err then
  if not string.find(wrote.err, 'OOM', 1, true) then return wrote end
  if #closed == 0 and not next(opened) then return wrote end
  full = true
  call('HDEL', OPEN, '')
  call('SET', SEQUENCE, digits(sequence))
end

-- 5. Holds.

local answers, windows = {}, {}

local function twin_verdict(text, at)
  local id, fingerprint = read_twin(text)
  local known = twin_text(id)
  if not known then return nil end
  if sub(known, 1, 1) == 'R' then return sub(known, 2) == fingerprint and 'r' or 'o' end
  local till, length, kept, start = match(known, '^D(%-?%d+) (%d+) (.)()')
  if at_most(integer(till), at) then return nil end
  if sub(known, start, start + length - 1) ~= fingerprint then return 'o' end
  if kept == '-' then return 'n' end
  answers[#answers + 1] = sub(known, start + length)
  return 'a'
end

local function again(hold, record)
  local granted, start = match(record, '^%S+ %S+ (%S*) %d+\n()')
  return sub(record, start) == hold.contents and 'g' .. granted or 'c'
end

local function decide(hold)
  local op, kind = hold.op, hold.kind
  if open[op] then return again(hold, open[op]) end
  local how = how_ended(op)
  if how then return sub(how, 1, 1) == 'd' and how or 'e' end
  if stored[kind.known] ~= kind.generation then return 's' end
  local verdict = hold.twin ~= '' and twin_verdict(hold.twin, hold.now)
  if verdict then return verdict end
  if waiting >= backlog then return 'f' end
  if full then return 'm' end
  local taken = {}
  for i, draw in ipairs(kind.draws) do
    local value = value_of(draw.key) or 0
    local after = take(draw, value, hold.now)
    if not after then
      how = 'd' .. (i - 1) .. ' ' .. digits(value)
      ended[op] = how
      endings[#endings + 1], endings[#endings + 2] = op, how
      return how
    end
    taken[i] = after
  end
  for i, draw in ipairs(kind.draws) do
    if draw.till ~= '0' and not values[draw.key] then windows[#windows + 1] = draw end
    put(draw.key, taken[i])
    taken[i] = digits(taken[i])
  end
  local granted = concat(taken, ',')
  open[op] = new_record(hold.dispatched, hold.expires, granted, kind.length, hold.contents, hold.twin)
  opened[op] = open[op]
  if hold.twin ~= '' then
    local id, fingerprint = read_twin(hold.twin)
    write_twin(id, 'R' .. fingerprint)
  end
  return 'g' .. granted
end

for i, hold in ipairs(holds) do news[#news + 1] = decide(hold) end

-- 6. Writes.

tell(closed, 'HDEL', OPEN)
tell(endings, 'HSET', ENDED)
local fields, written = {}, {}
for op, record in pairs(opened) do fields[#fields + 1], fields[#fields + 2] = op, record end
tell(fields, 'HSET', OPEN)
for key in pairs(changed) do written[#written + 1], written[#written + 2] = key, digits(values[key]) end
if #entries > 0 then written[#written + 1], written[#written + 2] = WAITING, digits(waiting) end
tell(written, 'MSET')
for _, first in ipairs(entries) do
  call('XADD', tag .. 'out', '*', 'n', ARGV[first + 1], 'e', ARGV[first + 2])
end
for _, draw in ipairs(windows) do
  call('ZADD', tag .. 'windows', draw.till, draw.name)
end
for _, write in ipairs(twin_writes) do
  local key, text, lives = write[1], write[2], write[3]
  if not text then call('DEL', key)
  elseif lives then call('SET', key, text, 'PX', digits(floor(tonumber(lives) / 1000)))
  else call('SET', key, text) end
end

local reply = 'K' .. digits(sequence) .. ' ' .. digits(waiting) .. ' ' .. call('HLEN', OPEN) .. '\n' .. concat(news, '\n')
if #answers == 0 then return reply end
return { reply, unpack(answers) }
