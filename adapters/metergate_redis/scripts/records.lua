-- What is remembered of a hold that is open, of an operation that has ended, and of a twin.
--
-- An open hold:   '<t when it has a twin, else -><1 once dispatched> <expires> <values> <length>', then what the
--                 hold was: its twin and request a line each, `length` bytes of account and draws, and its terms.
-- An ended one:   's<digest of its event>', 'r' for a release, 'v' for one that came before its hold,
--                 'd<position> <value>' for a denial.
-- A twin:         'R<fingerprint>' while it runs, then 'D<until> <length of fingerprint> <- | +><fingerprint><answer>'.

local function new_record(dispatched, expires, values, length, contents, twin)
  return (twin ~= '' and 't' or '-') .. dispatched .. ' ' .. expires .. ' ' .. values .. ' ' .. length .. '\n' .. contents
end

local function read_record(record)
  local dispatched, expires, values, length, start = match(record, '^.(%d) (%-?%d+) (%S*) (%d+)\n()')
  local twin, request, body = match(record, '^([^\n]*)\n%d([^\n]*)\n()', start)
  return {
    dispatched = dispatched, expires = expires, values = values, length = tonumber(length), start = start,
    twin = twin, request = request, body = body,
  }
end

local function draws_of(record)
  local read = read_record(record)
  local text = sub(record, read.body, read.body + read.length - 1)
  return parse_draws(text, match(text, '^[^\n]*\n()'))
end

-- The twin of a hold as it came: '<until> <length of id> <id><fingerprint>'.
local function read_twin(text)
  local till, length, rest = match(text, '^(%-?%d+) (%d+) (.*)$')
  return sub(rest, 1, tonumber(length)), sub(rest, length + 1), till
end

local function done_twin(till, fingerprint, answer)
  return 'D' .. till .. ' ' .. #fingerprint .. ' ' .. (answer and '+' or '-') .. fingerprint .. (answer or '')
end

local function with_expiry(record, expires)
  local first, rest = match(record, '^(%S+) %-?%d+()')
  return first .. ' ' .. expires .. sub(record, rest)
end
