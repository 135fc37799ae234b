-- The same as metergate/core/budget.py, and tested against it. A draw is { kind, key, amount, low, high, end }; the
-- `low` of a rate is its interval times the amount.

local BALANCE, QUOTA, RATE = 0, 1, 2
local KIND, KEY, AMOUNT, LOW, HIGH, UNTIL = 1, 2, 3, 4, 5, 6

-- The value after the draw, or nil when it does not fit.
local function take(draw, value, now)
  local kind = draw[KIND]
  if kind == BALANCE then
    local left = minus(value, draw[AMOUNT])
    return at_most(draw[LOW], left) and left or nil
  end
  if kind == RATE then
    local high = draw[HIGH]
    local near = not at_most(value, now) and at_most(value, plus(now, plus(high, high)))
    local arrival = plus(near and value or now, draw[LOW])
    return at_most(minus(arrival, now), high) and arrival or nil
  end
  if kind == QUOTA and not at_most(draw[LOW], value) then return nil end
  local used = plus(value, draw[AMOUNT])
  return at_most(used, draw[HIGH]) and used or nil
end

-- The value once the held amount turned out to be `actual`.
local function correct(draw, value, actual)
  local kind = draw[KIND]
  if kind == RATE then return value end
  if kind == BALANCE then return minus(plus(value, draw[AMOUNT]), actual) end
  local rest = minus(value, draw[AMOUNT])
  if kind == QUOTA then rest = plus(rest, actual) end
  return at_most(0, rest) and rest or 0
end
