--- Amounts: whole token units as 256-bit integers, decimal text on the outside.
local bint = require('.bint')(256)

local amount = {}

--- The longest amount: one digit more than the supply has, so that sums and products stay far below 2^255.
local MAX_DIGITS = 22

amount.ZERO = bint.zero()

--- @param text any
--- @return table | nil amount nil when the text is not a canonical non-negative integer
function amount.parse(text)
  if type(text) ~= 'string' or #text > MAX_DIGITS then return nil end
  if text ~= '0' and not text:match('^[1-9]%d*$') then return nil end
  return bint.fromstring(text)
end

--- @param integer integer
--- @return table amount
function amount.of(integer)
  return bint.frominteger(integer)
end

--- @param value table
--- @return string text decimal
function amount.text(value)
  return tostring(value)
end

--- @param a table
--- @param b table
--- @return table
function amount.min(a, b)
  return a < b and a or b
end

--- @param a table
--- @param b table
--- @return table
function amount.max(a, b)
  return a < b and b or a
end

--- value × millionths / 1,000,000, rounded down.
--- @param value table
--- @param millionths integer
--- @return table
function amount.share(value, millionths)
  return value * bint.frominteger(millionths) // bint.frominteger(1000000)
end

--- The quotient as a Lua integer; it must be below 2^53.
--- @param value table
--- @param divisor table
--- @return integer
function amount.quotient(value, divisor)
  return bint.tointeger(value // divisor)
end

return amount
