-- The same as metergate/core/budget.py, and tested against it.
--
-- Draws are one flat list: for each its kind, key, amount, low, high and end. The `low` of a rate is its interval
-- times the amount.

local BALANCE, QUOTA, RATE = 0, 1, 2
local DRAW = 6

-- The value after the draw that begins at `i`, or nil when it does not fit.
local function take(list, i, value, now)
  local kind, amount, low, high = list[i], list[i + 2], list[i + 3], list[i + 4]
  if kind == BALANCE then
    local left = minus(value, amount)
    return at_most(low, left) and left or nil
  end
  if kind == RATE then
    local near = not at_most(value, now) and at_most(value, plus(now, plus(high, high)))
    local arrival = plus(near and value or now, low)
    return at_most(minus(arrival, now), high) and arrival or nil
  end
  if kind == QUOTA and not at_most(low, value) then return nil end
  local used = plus(value, amount)
  return at_most(used, high) and used or nil
end

-- The value once the amount of the draw that begins at `i` turned out to be `actual`.
local function correct(list, i, value, actual)
  local kind, amount = list[i], list[i + 2]
  if kind == RATE then return value end
  if kind == BALANCE then return minus(plus(value, amount), actual) end
  local rest = minus(value, amount)
  if kind == QUOTA then rest = plus(rest, actual) end
  return at_most(0, rest) and rest or 0
end
