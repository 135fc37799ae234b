-- Integers of any size, to the last digit. Lua's numbers are doubles, so an integer is a number only below 4e15,
-- where a sum of two is still exact; a larger one stays text.

local LARGE = 4e15
local format, match, sub, byte = string.format, string.match, string.sub, string.byte
local tonumber, type, floor = tonumber, type, math.floor
-- The faster way to write an integer, where it is as wide as a double.
local PLAIN = format('%d', LARGE) == '4000000000000000' and '%d' or '%.0f'

local function integer(text)
  local value = text + 0  -- which reads the text once, and `tonumber` twice
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

-- The sum of two of which one is text, in two halves of which each is exact.
local function plus_large(a, b)
  local BASE, high, low = 1e12, 0, 0
  for _, value in ipairs({ digits(a), digits(b) }) do
    local sign, number = match(value, '^(%-?)0*(%d+)$')
    sign = sign == '-' and -1 or 1
    high = high + sign * (tonumber(sub(number, 1, -13)) or 0)
    low = low + sign * tonumber(sub(number, -12))
  end
  local carry = floor(low / BASE)
  high, low = high + carry, low - carry * BASE
  if high < 0 and low > 0 then high, low = high + 1, low - BASE end
  if high == 0 then return low end
  return integer((high < 0 and '-' or '') .. format('%.0f%012.0f', math.abs(high), math.abs(low)))
end

local function plus(a, b)
  if type(a) ~= 'number' or type(b) ~= 'number' then return plus_large(a, b) end
  local sum = a + b
  if sum > -LARGE and sum < LARGE then return sum end
  return format('%.0f', sum)
end

local function minus(a, b)
  if type(b) == 'number' then return plus(a, 0 - b) end
  return plus_large(a, byte(b) == 45 and sub(b, 2) or '-' .. b)
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
