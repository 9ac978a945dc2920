--- Query, key and value rows of a head, and the pages that keep K and V (shared/src/machine/SPEC.md §1, §3.4, §4).
local numbers = require('apus.machine.numbers')
local scalars = require('apus.machine.scalars')
local sizes = require('apus.machine.sizes')

local sat, rs = numbers.sat, numbers.rs

local rows = {}

rows.QUERY_LIMIT = 2047
rows.CACHE_LIMIT = 32640
local PAGE = sizes.PAGE_ROWS

--- The values turned by the angle of the position, adjacent values a pair.
--- @param values integer[] head size
--- @param frequencies string u64[head size / 2]
--- @param position integer
--- @return integer[]
function rows.rotate(values, frequencies, position)
  local out = {}
  for i = 1, #values, 2 do
    local f = string.unpack('<I8', frequencies, (i - 1) * 4 + 1)
    local u = (((position * f & (1 << 44) - 1) + (1 << 22)) >> 23) % (1 << 21)
    local c, s = scalars.cosine(u), scalars.sine(u)
    local a, b = values[i], values[i + 1]
    out[i] = sat(rs(a * c - b * s, 30))
    out[i + 1] = sat(rs(a * s + b * c, 30))
  end
  return out
end

--- @param values integer[] head size
--- @param limit integer
--- @return string u8 e ‖ i16[head size]
function rows.encode(values, limit)
  local most = 0
  for i = 1, #values do
    most = math.max(most, math.abs(values[i]))
  end
  local e = 0
  while rs(most, e) > limit do
    e = e + 1
  end
  local out = { string.char(e) }
  for i = 1, #values do
    out[i + 1] = string.pack('<i2', rs(values[i], e))
  end
  return table.concat(out)
end

--- @param row string u8 e ‖ i16[]
--- @return integer e
--- @return integer[] values
function rows.decode(row)
  local out = {}
  for at = 2, #row, 2 do
    out[at // 2] = string.unpack('<i2', row, at)
  end
  return row:byte(1), out
end

--- The row of a page, as a row is encoded.
--- @param page string u8 e[64] ‖ i16[64][head size]
--- @param row integer 0..63
--- @param headSize integer
--- @return string
function rows.ofPage(page, row, headSize)
  local from = PAGE + row * headSize * 2
  return page:sub(row + 1, row + 1) .. page:sub(from + 1, from + headSize * 2)
end

return rows
