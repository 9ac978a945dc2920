--- The integers of the machine (shared/src/machine/SPEC.md §1). Every value stays below 2^63 in magnitude, and no
--- negative value is ever shifted: hosts differ in what `>>` does to one.
local numbers = {}

local SAT = (1 << 30) - 1

--- @param v integer
--- @return integer
local function sat(v)
  if v > SAT then return SAT end
  if v < -SAT then return -SAT end
  return v
end

--- floor((v + 2^(s-1)) / 2^s), or v for s = 0.
--- @param v integer
--- @param s integer 0..62
--- @return integer
local function rs(v, s)
  if s == 0 then return v end
  return (v + (1 << (s - 1))) // (1 << s)
end

--- @return integer sat(rs(a * b, s))
function numbers.mulrs(a, b, s)
  return sat(rs(a * b, s))
end

--- @param n integer not negative
--- @return integer 0 for 0, else floor(log2 n) + 1
function numbers.bitlen(n)
  local length = 0
  while n >= 65536 do
    n, length = n >> 16, length + 16
  end
  while n > 0 do
    n, length = n >> 1, length + 1
  end
  return length
end

--- @param bytes string
--- @param from integer first byte, 1-based
--- @param count integer
--- @return integer[] little-endian i32
function numbers.readI32(bytes, from, count)
  local out = {}
  for i = 1, count do
    out[i] = string.unpack('<i4', bytes, from + (i - 1) * 4)
  end
  return out
end

--- @param values integer[]
--- @return string little-endian i32
function numbers.writeI32(values)
  local out = {}
  for i = 1, #values do
    out[i] = string.pack('<i4', values[i])
  end
  return table.concat(out)
end

numbers.SAT, numbers.sat, numbers.rs = SAT, sat, rs

return numbers
