-- Integers of any size, to the last digit. Lua's numbers are doubles, so an integer is a number only below 4e15,
-- where a sum of two is still exact; a larger one stays text.

local LARGE = 4e15
local BASE = 1e12
local format, match, sub, byte = string.format, string.match, string.sub, string.byte
local tonumber, type, floor, abs = tonumber, type, math.floor, math.abs
-- The faster way to write an integer, where it is as wide as a double.
local PLAIN = format('%d', LARGE) == '4000000000000000' and '%d' or '%.0f'

local function integer(text)
  local value = tonumber(text)
  if value > -LARGE and value < LARGE then return value end
  return text
end

-- What a caller sent is checked before anything is done with it.
local function checked(text)
  if type(text) == 'number' and text == floor(text) then return text end
  if type(text) ~= 'string' or #text > 30 or not match(text, '^%-?%d+$') then
    error('not an integer: ' .. tostring(text))
  end
  return integer(text)
end

local function digits(value)
  if type(value) == 'number' then return format(PLAIN, value) end
  return value
end

local function halves(value)
  local sign, number = match(digits(value), '^(%-?)0*(%d+)$')
  local high, low = tonumber(sub(number, 1, -13)) or 0, tonumber(sub(number, -12))
  if sign == '-' then return 0 - high, 0 - low end
  return high, low
end

local function whole(high, low)
  local carry = floor(low / BASE)
  high, low = high + carry, low - carry * BASE
  if high < 0 and low > 0 then high, low = high + 1, low - BASE end
  if high == 0 then return low end
  return integer((high < 0 and '-' or '') .. format('%.0f%012.0f', abs(high), abs(low)))
end

local function plus(a, b)
  if type(a) == 'number' and type(b) == 'number' then
    local sum = a + b
    if sum > -LARGE and sum < LARGE then return sum end
    return format('%.0f', sum)
  end
  local a_high, a_low = halves(a)
  local b_high, b_low = halves(b)
  return whole(a_high + b_high, a_low + b_low)
end

local function minus(a, b)
  if type(b) == 'number' then return plus(a, 0 - b) end
  return plus(a, byte(b) == 45 and sub(b, 2) or '-' .. b)
end

local function at_most(a, b)
  if type(a) == 'number' then
    if type(b) == 'number' then return a <= b end
    return byte(b) ~= 45  -- what is text is larger than any number, or smaller where it begins with a minus
  end
  if type(b) == 'number' then return byte(a) == 45 end
  local rest = minus(b, a)
  if type(rest) == 'number' then return rest >= 0 end
  return byte(rest) ~= 45
end
