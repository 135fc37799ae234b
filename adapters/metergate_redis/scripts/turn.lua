-- What the calls of one turn of an event loop want, all at once: ends first, then holds.
--
-- KEYS[1]  the tag that begins every key of the shard
-- ARGV[1]  epoch, sequence seen, backlog, now;
--          releases and dispatches: ops;
--          settles: op, digest, amounts (0 where all came to what was held), answer, one after the other;
--          how many settles belong together in each group;
--          holds: op, template, now, expires, dispatched, request (0 where it is the op), twin, one after the other;
--          how many templates there are
-- ARGV     per template: generation, account and draws; and the terms,
--          per group: its joined events,
--          twins and answers, which the others name by their place among them; 0 is none
--
-- First everything is read and decided, then everything is written: a script is not rolled back.

local call, pcall, concat, min = redis.call, redis.pcall, table.concat, math.min
local tag = KEYS[1]
local OPEN, ENDED, BEFORE, TWIN = tag .. 'open', tag .. 'ended', tag .. 'ended:before', tag .. 't:'
local EPOCH, SEQUENCE, WAITING = tag .. 'epoch', tag .. 'seq', tag .. 'waiting'
local epoch, seen, backlog, now, releases, dispatches, settles, groups, holds, templates = unpack(cjson.decode(ARGV[1]))
local SETTLE, HOLD, PORTION = 4, 7, 4000
local EVENTS = 1 + 2 * templates
local EXTRA = EVENTS + #groups

local function do_with(list, first, last, command, key)
  if key then return call(command, key, unpack(list, first, last)) end
  return call(command, unpack(list, first, last))
end

-- Ask for many keys or fields, in portions that Lua's stack can carry.
local function ask(list, command, key)
  if #list == 0 then return list end
  if #list <= PORTION then return do_with(list, 1, #list, command, key) end
  local found = {}
  for first = 1, #list, PORTION do
    local last = min(first + PORTION - 1, #list)
    local got = do_with(list, first, last, command, key)
    for i = first, last do found[i] = got[i - first + 1] end
  end
  return found
end

local function tell(list, command, key)
  for first = 1, #list, PORTION do do_with(list, first, min(first + PORTION - 1, #list), command, key) end
end

-- 1. The budgets that the holds draw from.

local kinds, keys, values = {}, { EPOCH, SEQUENCE, WAITING }, {}
for i = 1, templates do
  local kind = cjson.decode(ARGV[2 * i])
  kinds[i], keys[#keys + 1] = kind, tag .. 'g:' .. kind[2]
end
local FIRST_BUDGET = #keys + 1
for i = 1, templates do
  for _, draw in ipairs(kinds[i][3]) do
    local key = draw[KEY]
    if values[key] == nil then values[key], keys[#keys + 1] = false, key end
  end
end
local loaded = ask(keys, 'MGET')
if loaded[1] ~= epoch then return 'E' end
local sequence, waiting = tonumber(loaded[2] or '0'), tonumber(loaded[3] or '0')
if sequence < seen then return 'L' end
for i = FIRST_BUDGET, #keys do
  local value = loaded[i] and integer(loaded[i])
  loaded[i], values[keys[i]] = value, value
end

local function value_of(key)
  local value = values[key]
  if value == nil then
    value = call('GET', key)
    value = value and integer(value)
    loaded[#keys + 1], keys[#keys + 1], values[key] = value, key, value
  end
  return value
end

-- 2. What is known of every op of the turn.

local ending, asking = {}, {}
for i = 1, #settles, SETTLE do ending[#ending + 1] = settles[i] end
for i = 1, #releases do ending[#ending + 1] = releases[i] end
for i = 1, #dispatches do ending[#ending + 1] = dispatches[i] end
for i = 1, #holds, HOLD do asking[#asking + 1] = holds[i] end
local open, ended, opened, opened_ops = {}, {}, {}, {}

local function learn(ops)
  local records = ask(ops, 'HMGET', OPEN)
  for i = 1, #ops do open[ops[i]] = records[i] end
end
learn(ending)
learn(asking)
local lately, earlier = ask(asking, 'HMGET', ENDED), ask(asking, 'HMGET', BEFORE)

local function how_ended(op)
  local how = ended[op]
  if how == nil then
    how = call('HGET', ENDED, op) or call('HGET', BEFORE, op)
    ended[op] = how
  end
  return how
end

-- 3. Ends.

local closed, endings, entries, twins, twin_writes, news = {}, {}, {}, {}, {}, {}

local function twin_text(id)
  if twins[id] == nil then twins[id] = call('GET', TWIN .. id) end
  return twins[id]
end

local function write_twin(id, text, lives)
  twins[id] = text
  twin_writes[#twin_writes + 1] = { TWIN .. id, text, lives }
end

local function remember(op, how)
  ended[op] = how
  endings[#endings + 1], endings[#endings + 2] = op, how
end

local function close(op, how)
  open[op], closed[#closed + 1] = false, op
  remember(op, how)
end

local function keep_open(op, record)
  if not opened[op] then opened_ops[#opened_ops + 1] = op end
  open[op], opened[op] = record, record
end

-- Put what a call came to in the place of what it held; without amounts it came to nothing.
local function correct_all(record, amounts)
  for i, draw in ipairs(cjson.decode(read_record(record).template)[3]) do
    local value = value_of(draw[KEY])
    if value then values[draw[KEY]] = correct(draw, value, amounts and checked(amounts[i]) or 0) end
  end
end

local function settle(i)
  local op, digest, amounts, answer = settles[i], settles[i + 1], settles[i + 2], settles[i + 3]
  local record = open[op]
  if amounts ~= 0 then correct_all(record, amounts) end
  if has_twin(record) then
    local id, fingerprint, till = unpack(cjson.decode(read_record(record).twin))
    local lives = math.max(1000, floor((till - now) / 1000))
    write_twin(id, done_twin(fingerprint, till, answer ~= 0 and ARGV[EXTRA + answer]), lives)
  end
  close(op, digest)
end

local function all_open(first, last)
  local met = {}
  for i = first, last, SETTLE do
    local op = settles[i]
    if not open[op] or met[op] then return false end
    met[op] = true
  end
  return true
end

-- One that is not open was settled before, the same way or another; of several the sender has to ask one by one.
local function not_open(first, last)
  if last - first > SETTLE then return '?' end
  local how = how_ended(settles[first])
  if not how or how == 'v' then return 'U' end
  return how == settles[first + 1] and 'D' or 'C'
end

local first = 1
for group, count in ipairs(groups) do
  local last = first + SETTLE * count - 1
  if all_open(first, last) then
    for i = first, last, SETTLE do settle(i) end
    waiting = waiting + count
    entries[#entries + 1] = group
    news[#news + 1] = 'D'
  else
    news[#news + 1] = not_open(first, last)
  end
  first = last + 1
end

-- What nobody knows is remembered: a hold that was on its way, and comes after its release, must not be taken.
local function release(op)
  local record = open[op]
  if record then
    correct_all(record)
    if has_twin(record) then write_twin(cjson.decode(read_record(record).twin)[1], false) end
    close(op, 'r')
    return 'D'
  end
  local how = how_ended(op)
  if not how then remember(op, 'v') end
  return (not how or how == 'v') and 'U' or how == 'r' and 'D' or 'C'
end

for i = 1, #releases do news[#news + 1] = release(releases[i]) end

for i = 1, #dispatches do
  local op = dispatches[i]
  local record = open[op]
  if record then keep_open(op, sub(record, 1, 1) .. '1' .. sub(record, 3)) end
end

-- 4. The first write tells whether the server takes any: one that is full still takes ends, but no holds.

local full = false
sequence = sequence + 1
local wrote = pcall('SET', SEQUENCE, digits(sequence))
if wrote.err then
  local ends = #closed + #opened_ops > 0
  if not (ends and string.find(wrote.err, 'OOM', 1, true)) then return wrote end
  full = true
  call('HDEL', OPEN, '')
  call('SET', SEQUENCE, digits(sequence))
end

-- 5. Holds.

local answers, windows, after = {}, {}, {}

local function twin_verdict(twin, at)
  local id, fingerprint = unpack(cjson.decode(twin))
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

local patterns = { [0] = '', PLAIN, PLAIN .. ',' .. PLAIN }

local function written_out(count)
  for i = 1, count do
    if type(after[i]) ~= 'number' then
      for j = 1, count do after[j] = digits(after[j]) end
      return concat(after, ',', 1, count)
    end
  end
  local pattern = patterns[count]
  if not pattern then
    pattern = PLAIN .. string.rep(',' .. PLAIN, count - 1)
    patterns[count] = pattern
  end
  return format(pattern, unpack(after, 1, count))
end

-- The first draw that does not fit, and what its budget holds; nil when all fit and `after` says what is left.
local function misfit(draws, at)
  for i = 1, #draws do
    local draw = draws[i]
    local value = values[draw[KEY]] or 0
    local left = take(draw, value, at)
    if not left then return i, value end
    after[i] = left
  end
end

local function granted(kind)
  local draws = kind[3]
  for i = 1, #draws do
    local draw = draws[i]
    local key = draw[KEY]
    if draw[UNTIL] ~= 0 and not values[key] then windows[#windows + 1] = draw end
    values[key] = after[i]
  end
  return written_out(#draws)
end

local function decide(i, place)
  local op, template, at = holds[i], holds[i + 1], holds[i + 2]
  local kind, dispatched, request, twin = kinds[template], holds[i + 4], holds[i + 5], holds[i + 6]
  twin = twin ~= 0 and ARGV[EXTRA + twin]
  local text, terms = ARGV[2 * template], ARGV[2 * template + 1]
  local record = open[op]
  if record then
    local values_then, contents = match(record, '^%S+ %S+ ([^\n]*)\n(.*)')
    local same = contents == contents_of(dispatched, request == 0 and '' or request, twin or '', text, terms)
    return same and 'g' .. values_then or 'c'
  end
  local how = ended[op] or lately[place] or earlier[place]
  if how then return byte(how) == 100 and how or 'e' end
  if loaded[template + 3] ~= kind[1] then return 's' end
  local verdict = twin and twin_verdict(twin, at)
  if verdict then return verdict end
  if waiting >= backlog then return 'f' end
  if full then return 'm' end
  local position, value = misfit(kind[3], at)
  if position then
    how = 'd' .. (position - 1) .. ' ' .. digits(value)
    remember(op, how)
    return how
  end
  local values_now = granted(kind)
  local contents = contents_of(dispatched, request == 0 and '' or request, twin or '', text, terms)
  keep_open(op, new_record(dispatched, holds[i + 3], values_now, contents, twin))
  if twin then
    local id, fingerprint = unpack(cjson.decode(twin))
    write_twin(id, 'R' .. fingerprint)
  end
  return 'g' .. values_now
end

for place = 1, #asking do news[#news + 1] = decide(HOLD * (place - 1) + 1, place) end

-- 6. Writes.

tell(closed, 'HDEL', OPEN)
tell(endings, 'HSET', ENDED)
local written = {}
for i = 1, #opened_ops do
  local op = opened_ops[i]
  if open[op] then written[#written + 1], written[#written + 2] = op, open[op] end
end
tell(written, 'HSET', OPEN)
written = {}
for i = FIRST_BUDGET, #keys do
  local value = values[keys[i]]
  if value ~= loaded[i] then written[#written + 1], written[#written + 2] = keys[i], digits(value) end
end
if #entries > 0 then written[#written + 1], written[#written + 2] = WAITING, digits(waiting) end
tell(written, 'MSET')
for _, group in ipairs(entries) do
  call('XADD', tag .. 'out', '*', 'n', groups[group], 'e', ARGV[EVENTS + group])
end
for _, draw in ipairs(windows) do
  call('ZADD', tag .. 'windows', digits(draw[UNTIL]), draw[KEY])
end
for _, write in ipairs(twin_writes) do
  local key, text, lives = write[1], write[2], write[3]
  if not text then call('DEL', key)
  elseif lives then call('SET', key, text, 'PX', digits(lives))
  else call('SET', key, text) end
end

local reply = 'K' .. digits(sequence) .. ' ' .. digits(waiting) .. ' ' .. call('HLEN', OPEN) .. '\n' .. concat(news, '\n')
if #answers == 0 then return reply end
return { reply, unpack(answers) }
