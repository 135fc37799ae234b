-- What is remembered of a hold that is open, of an operation that has ended, and of a twin.
--
-- An open hold:   '<t when it has a twin, else -><1 once dispatched> <expires> <answer>', and a line each for its
--                 twin, for whether it was dispatched at once and its request (empty when it is the op), and for its
--                 draws and account; and then its terms.
-- An ended one:   the digest of its event, 'r' for a release, 'v' for one that came before its hold,
--                 'd<position> <value>' for a denial.
-- A twin:         'R<fingerprint>' while it runs, then 'D<until> <length of fingerprint> <- | +><fingerprint><answer>'.

local TWINNED, DENIED = byte('t'), byte('d')
local RECORD = '^.(%d) %-?%d+ [^\n]*\n([^\n]*)\n%d([^\n]*)\n([^\n]*)\n()'

local function read_record(record)
  local dispatched, twin, request, draws, terms = match(record, RECORD)
  return { dispatched = dispatched, twin = twin, request = request, draws = draws, terms = terms }
end

local function with_expiry(record, expires)
  local first, rest = match(record, '^(%S+) %-?%d+()')
  return first .. ' ' .. expires .. sub(record, rest)
end

-- A twin comes as '[id, fingerprint, until]'.
local function done_twin(fingerprint, till, answer)
  return 'D' .. digits(till) .. ' ' .. #fingerprint .. ' ' .. (answer and '+' or '-') .. fingerprint .. (answer or '')
end
