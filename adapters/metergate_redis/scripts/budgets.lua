-- The same as metergate/core/budget.py, and tested against it.

local BALANCE, QUOTA, RATE = '0', '1', '2'

local function larger(a, b)
  return at_most(a, b) and b or a
end

-- The value after the draw, or nil when it does not fit. The `low` of a rate is its interval times the amount.
local function take(draw, value, now)
  local kind = draw.kind
  if kind == BALANCE then
    local left = minus(value, draw.amount)
    return at_most(draw.low, left) and left or nil
  end
  if kind == RATE then
    local near = not at_most(value, now) and at_most(value, plus(now, plus(draw.high, draw.high)))
    local arrival = plus(near and value or now, draw.low)
    return at_most(minus(arrival, now), draw.high) and arrival or nil
  end
  local used = plus(value, draw.amount)
  if kind == QUOTA and not at_most(draw.low, value) then return nil end
  return at_most(used, draw.high) and used or nil
end

-- The value once the held amount turned out to be `actual`.
local function correct(draw, value, actual)
  local kind = draw.kind
  if kind == BALANCE then return minus(plus(value, draw.amount), actual) end
  if kind == RATE then return value end
  local rest = minus(value, draw.amount)
  if kind == QUOTA then rest = plus(rest, actual) end
  return larger(0, rest)
end

-- Draws as a hold brings them: 'kind amount low high until name', one a line.
local function parse_draws(text, start)
  local draws, count = {}, 0
  for kind, amount, low, high, till, name in
    string.gmatch(sub(text, start or 1), '(%d) (%-?%d+) (%-?%d+) (%-?%d+) (%d+) ([^\n]*)\n') do
    count = count + 1
    draws[count] = {
      kind = kind, amount = integer(amount), low = integer(low), high = integer(high), till = till, name = name,
    }
  end
  return draws
end
