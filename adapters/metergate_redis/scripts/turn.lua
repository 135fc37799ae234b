-- What the calls of one turn of an event loop want, all at once: ends first, then holds.
--
-- KEYS[1]  the tag that begins every key of the shard
-- ARGV     epoch, sequence seen, backlog, now; how many groups, settles, releases, dispatches, runs and holds;
--          special settles as { place, amounts or 0, answer }, and special holds as { place, dispatched, request,
--          twin }, or 0 where there are none;
--          the ops of the settles, releases, dispatches and holds, some hundreds in all;
--          per settle the digest of its event;
--          per group how many settles belong together, and their joined events;
--          per run of holds that are alike: how many, when they expire, generation and its key, draws and terms
--          as they are remembered, how many draws, and the draws (see budgets.lua);
--          twins and answers, which the special ones name by their place among them; 0 is none
--
-- A plain settle came to what was held. A plain hold goes on at once, and its request is its op.
-- First everything is read and decided, then everything is written: a script is not rolled back.
-- Functions cost when they are made, so those that few turns need are made where they are needed.

local call, unpack, A = redis.call, unpack, ARGV
local tag = KEYS[1]
local OPEN, ENDED, BEFORE, TWIN = tag .. 'open', tag .. 'ended', tag .. 'ended:before', tag .. 't:'
local SEQUENCE, WAITING = tag .. 'seq', tag .. 'waiting'
local groups, settles, releases, dispatches, runs, holds = A[5] + 0, A[6] + 0, A[7] + 0, A[8] + 0, A[9] + 0, A[10] + 0
local OPS, ENDS = 12, settles + releases + dispatches
local DIGESTS = OPS + ENDS + holds
local GROUPS = DIGESTS + settles
local RUNS, RUN = GROUPS + 2 * groups, 6
local PORTION = 3000  -- of keys, as many as Lua's stack carries

-- 1. The accounts of the holds, and the budgets that they draw from.

local keys, values, at = { tag .. 'epoch', SEQUENCE, WAITING }, {}, RUNS
local known = #keys
for _ = 1, runs do
  local draws = A[at + 6] + 0
  known = known + 1
  keys[known] = A[at + 4]
  at = at + RUN
  for _ = 1, draws do
    local key = A[at + 2]
    if values[key] == nil then
      known = known + 1
      values[key], keys[known] = false, key
    end
    at = at + DRAW
  end
end
local EXTRA = at
local loaded = known <= PORTION and call('MGET', unpack(keys)) or {}
for first = #loaded + 1, known, PORTION do
  for i, value in ipairs(call('MGET', unpack(keys, first, math.min(first + PORTION - 1, known)))) do
    loaded[first + i - 1] = value
  end
end
if loaded[1] ~= A[1] then return 'E' end
local sequence, waiting = (loaded[2] or 0) + 0, (loaded[3] or 0) + 0
if sequence < A[2] + 0 then return 'L' end
sequence = sequence + 1
local generations = {}
for i = 4, known do
  local key, value = keys[i], loaded[i]
  if values[key] == nil then
    generations[key] = value
  elseif value then
    value = integer(value)
    loaded[i], values[key] = value, value
  end
end

-- 2. What is known of every op of the turn; how those end that end in it, and what there is to write.

local records = call('HMGET', OPEN, unpack(A, OPS + 1, DIGESTS))
local ended, opened, closed, endings, written, entries, news = {}, {}, {}, {}, {}, {}, {}
local twins, twin_writes, windows, answers = {}, {}, {}, {}

local function remember(op, how)
  local n = #endings
  ended[op], endings[n + 1], endings[n + 2] = how, op, how
end

local function by_place(text)
  local found = {}
  if text ~= '0' then
    for _, special in ipairs(cjson.decode(text)) do found[special[1]] = special end
  end
  return found
end

-- 3. Ends.

if ENDS > 0 then
  local specials = by_place(A[11])

  local function how_ended(op)
    return ended[op] or call('HGET', ENDED, op) or call('HGET', BEFORE, op)
  end

  -- Put what a call came to in the place of what it held; without amounts it came to nothing.
  local function correct_all(record, amounts)
    local draws = cjson.decode(read_record(record).draws)
    for d = 1, #draws - 1, DRAW do
      local key = draws[d + 1]
      local value = values[key]
      if value == nil then
        value = call('GET', key)
        value = value and integer(value)
        known = known + 1
        keys[known], loaded[known], values[key] = key, value, value
      end
      local actual = amounts and checked(amounts[(d - 1) / DRAW + 1]) or 0
      if value then values[key] = correct(draws, d, value, actual) end
    end
  end

  local function end_twin(record, answer)
    local id, fingerprint, till = unpack(cjson.decode(read_record(record).twin))
    twins[id] = done_twin(fingerprint, till, answer)
    twin_writes[#twin_writes + 1] = { TWIN .. id, twins[id], math.max(1000, floor((till - A[4]) / 1000)) }
  end

  local first = 1
  for group = 1, groups do
    local count = A[GROUPS + 2 * group - 1] + 0
    local last, n = first + count - 1, first
    while n <= last and records[n] and not ended[A[OPS + n]] do
      ended[A[OPS + n]] = A[DIGESTS + n]
      n = n + 1
    end
    if n > last then
      for i = first, last do
        local op, record, special = A[OPS + i], records[i], specials[i]
        if special and special[2] ~= 0 then correct_all(record, special[2]) end
        if byte(record) == TWINNED then end_twin(record, special and special[3] ~= 0 and A[EXTRA + special[3]]) end
        closed[#closed + 1] = op
        remember(op, A[DIGESTS + i])
      end
      waiting = waiting + count
      entries[#entries + 1] = group
      news[group] = 'D'
    else
      -- All or none. One that is not open was settled before, the same way or another; of several the sender has to
      -- ask one by one.
      for i = first, n - 1 do ended[A[OPS + i]] = nil end
      local how = count == 1 and how_ended(A[OPS + first])
      news[group] = count > 1 and '?' or (not how or how == 'v') and 'U' or how == A[DIGESTS + first] and 'D' or 'C'
    end
    first = last + 1
  end

  -- What nobody knows is remembered: a hold that was on its way, and comes after its release, must not be taken.
  for i = settles + 1, settles + releases do
    local op, record = A[OPS + i], records[i]
    local how = (ended[op] or not record) and how_ended(op)
    if record and not ended[op] then
      correct_all(record)
      if byte(record) == TWINNED then
        local id = cjson.decode(read_record(record).twin)[1]
        twins[id] = false
        twin_writes[#twin_writes + 1] = { TWIN .. id, false }
      end
      closed[#closed + 1] = op
      remember(op, 'r')
      how = 'r'
    elseif not how then
      remember(op, 'v')
    end
    news[#news + 1] = (not how or how == 'v') and 'U' or how == 'r' and 'D' or 'C'
  end

  for i = settles + releases + 1, ENDS do
    local op, record = A[OPS + i], records[i]
    if record and not ended[op] then
      opened[op] = sub(record, 1, 1) .. '1' .. sub(record, 3)
      written[#written + 1], written[#written + 2] = op, opened[op]
    end
  end
end
local moved = -#closed

-- 4. Holds.

if holds > 0 then
  local specials, backlog, now, after, list = by_place(A[12]), A[3] + 0, A[4] + 0, {}, {}
  local lately = call('HMGET', ENDED, unpack(A, OPS + ENDS + 1, DIGESTS))
  local earlier = call('HMGET', BEFORE, unpack(A, OPS + ENDS + 1, DIGESTS))
  local place, told, start = 0, #news, RUNS

  local function twin_verdict(twin, now)
    local id, fingerprint = unpack(cjson.decode(twin))
    if twins[id] == nil then twins[id] = call('GET', TWIN .. id) end
    local text = twins[id]
    if not text then return nil end
    if sub(text, 1, 1) == 'R' then return sub(text, 2) == fingerprint and 'r' or 'o' end
    local till, length, kept, from = match(text, '^D(%-?%d+) (%d+) (.)()')
    if at_most(integer(till), now) then return nil end
    if sub(text, from, from + length - 1) ~= fingerprint then return 'o' end
    if kept == '-' then return 'n' end
    answers[#answers + 1] = sub(text, from + length)
    return 'a'
  end

  for _ = 1, runs do
    local expires, body, draws = A[start + 2], A[start + 5], DRAW * A[start + 6]
    local fresh = generations[A[start + 4]] == A[start + 3]
    for d = 1, draws, DRAW do
      local a = start + RUN + d
      list[d], list[d + 1] = A[a] + 0, A[a + 1]
      list[d + 2], list[d + 3], list[d + 4] = integer(A[a + 2]), integer(A[a + 3]), integer(A[a + 4])
    end
    for _ = 1, A[start + 1] + 0 do
      place = place + 1
      local op, special = A[OPS + ENDS + place], specials[place]
      local record = opened[op] or not ended[op] and records[ENDS + place]
      local how = ended[op] or lately[place] or earlier[place]
      local twin, dispatched, contents = '', '1', '\n1\n'
      if special then
        twin, dispatched = special[4] == 0 and '' or A[EXTRA + special[4]], special[2] == 1 and '1' or '0'
        contents = twin .. '\n' .. dispatched .. (special[3] == 0 and '' or special[3]) .. '\n'
      end
      local verdict
      if record then
        local answer, kept = match(record, '^%S+ %S+ ([^\n]*)\n(.*)')
        verdict = kept == contents .. body and answer or 'c'
      elseif how then
        verdict = byte(how) == DENIED and how or 'e'
      elseif not fresh then
        verdict = 's'
      else
        verdict = twin ~= '' and twin_verdict(twin, now) or waiting >= backlog and 'f'
      end
      if not verdict then
        verdict = 'g'
        for d = 1, draws, DRAW do
          local value = values[list[d + 1]] or 0
          local left = take(list, d, value, now)
          if not left then
            verdict = format('d%d ', (d - 1) / DRAW) .. digits(value)
            remember(op, verdict)
            break
          end
          after[d] = left
          verdict = verdict .. (d > 1 and ',' or '') .. digits(left)
        end
        if byte(verdict) ~= DENIED then
          for d = 1, draws, DRAW do
            local key, till = list[d + 1], A[start + RUN + d + 5]
            if till ~= '0' and not values[key] then windows[#windows + 1] = { till, key } end
            values[key] = after[d]
          end
          record = (twin == '' and '-' or 't') .. dispatched .. ' ' .. expires .. ' ' .. verdict .. '\n'
            .. contents .. body
          local n = #written
          opened[op], written[n + 1], written[n + 2] = record, op, record
          moved = moved + 1
          if twin ~= '' then
            local id, fingerprint = unpack(cjson.decode(twin))
            twins[id] = 'R' .. fingerprint
            twin_writes[#twin_writes + 1] = { TWIN .. id, twins[id] }
          end
        end
      end
      news[told + place] = verdict
    end
    start = start + RUN + draws
  end
end

-- 5. Writes. A server that is full refuses the first write of a script, unless it gives something back: a turn with
-- holds is not taken then, and one of ends alone is.

local sets, n = { SEQUENCE, digits(sequence) }, 2
for i = 4, known do
  local key = keys[i]
  local value = values[key]
  if value and value ~= loaded[i] then
    sets[n + 1], sets[n + 2] = key, digits(value)
    n = n + 2
  end
end
if #entries > 0 then sets[n + 1], sets[n + 2] = WAITING, digits(waiting) end
if holds == 0 then call('HDEL', OPEN, closed[1] or '', unpack(closed, 2)) end
for i = 1, #sets, PORTION do call('MSET', unpack(sets, i, math.min(i + PORTION - 1, #sets))) end
if holds > 0 and #closed > 0 then call('HDEL', OPEN, unpack(closed)) end
if #written > 0 then call('HSET', OPEN, unpack(written)) end
if #endings > 0 then call('HSET', ENDED, unpack(endings)) end
for _, group in ipairs(entries) do
  call('XADD', tag .. 'out', '*', 'n', A[GROUPS + 2 * group - 1], 'e', A[GROUPS + 2 * group])
end
for _, window in ipairs(windows) do call('ZADD', tag .. 'windows', window[1], window[2]) end
for _, write in ipairs(twin_writes) do
  local key, text, lives = unpack(write)
  if not text then call('DEL', key)
  elseif lives then call('SET', key, text, 'PX', digits(lives))
  else call('SET', key, text) end
end

local reply = format('K' .. PLAIN .. ' ' .. PLAIN .. ' %d\n', sequence, waiting, moved) .. table.concat(news, '\n')
if #answers == 0 then return reply end
return { reply, unpack(answers) }
