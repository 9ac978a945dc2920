--- Rows of a tile times an A8 vector, and rows of the embedding (shared/src/machine/SPEC.md §3.1, §3.2, §5).
local numbers = require('apus.machine.numbers')
local sizes = require('apus.machine.sizes')

local sat, rs = numbers.sat, numbers.rs

local linear = {}

local GROUP, BLOCK = sizes.GROUP, sizes.A8_BLOCK
local MAX_MULTIPLIER, MAX_SHIFT = 2047, 56
local MIN_EMBED_SHIFT, MAX_EMBED_SHIFT = -12, 30

--- Bytes of a tile.
--- @param columns integer padded to 32
--- @return integer
function linear.bytes(rows, columns)
  return rows * columns + rows * (columns // GROUP) * 2 + rows * 5
end

--- Where the parts of a tile's bytes stand.
--- @param tile string i8 w[rows][c] ‖ u16 m[rows][c/32] ‖ u8 shift[rows] ‖ i32 bias[rows]
local function layout(tile, rows, columns)
  local groups = columns // GROUP
  local multipliers = rows * columns
  local shifts = multipliers + rows * groups * 2
  assert(#tile == linear.bytes(rows, columns), 'a tile has another length')
  return groups, multipliers, shifts
end

--- Whether a tile is in the machine's domain; sums stay below 2^63 only then.
--- @param tile string of the right length
--- @param used integer columns before padding
--- @param segment integer 0-based
--- @return boolean
function linear.isLegal(tile, rows, columns, used, segment)
  local groups, multipliers, shifts = layout(tile, rows, columns)
  if tile:sub(1, multipliers):find('\128', 1, true) then return false end
  for row = 0, used < columns and rows - 1 or -1 do
    if tile:sub(row * columns + used + 1, (row + 1) * columns):find('[^\0]') then return false end
  end
  for at = multipliers + 2, multipliers + rows * groups * 2, 2 do
    if tile:byte(at) > MAX_MULTIPLIER >> 8 then return false end
  end
  for row = 0, rows - 1 do
    local shift, bias = tile:byte(shifts + row + 1), string.unpack('<i4', tile, shifts + rows + row * 4 + 1)
    if shift < 1 or shift > MAX_SHIFT or math.abs(bias) > numbers.SAT or segment > 0 and bias ~= 0 then return false end
  end
  return true
end

--- The shifts of a tile's rows.
--- @return string u8[rows]
function linear.shifts(tile, rows, columns)
  local _, _, shifts = layout(tile, rows, columns)
  return tile:sub(shifts + 1, shifts + rows)
end

--- Whether rows of a legal tile can be embedded.
--- @return boolean
function linear.isEmbedding(tile, rows, columns, residual)
  local _, _, shifts = layout(tile, rows, columns)
  for row = 0, rows - 1 do
    local es = tile:byte(shifts + row + 1) - 2 - residual
    if es < MIN_EMBED_SHIFT or es > MAX_EMBED_SHIFT then return false end
  end
  return not tile:sub(shifts + rows + 1):find('[^\0]')
end

--- Sum over groups of 32 columns of one plane, exact.
local function dot(tile, row, columns, groups, multipliers, q, d)
  local total, block, at = 0, 0, row * columns
  local m = multipliers + row * groups * 2
  local byte = string.byte
  local perBlock = BLOCK // GROUP
  for g = 0, groups - 1 do
    local from = g * GROUP
    local sum, i = 0, from
    for part = at + from + 1, at + from + GROUP, 8 do
      local a, b, c, e, f, h, k, l = byte(tile, part, part + 7)
      sum = sum
        + ((a ~ 128) - 128) * (q[i + 1] or 0) + ((b ~ 128) - 128) * (q[i + 2] or 0)
        + ((c ~ 128) - 128) * (q[i + 3] or 0) + ((e ~ 128) - 128) * (q[i + 4] or 0)
        + ((f ~ 128) - 128) * (q[i + 5] or 0) + ((h ~ 128) - 128) * (q[i + 6] or 0)
        + ((k ~ 128) - 128) * (q[i + 7] or 0) + ((l ~ 128) - 128) * (q[i + 8] or 0)
      i = i + 8
    end
    local low, high = byte(tile, m + g * 2 + 1, m + g * 2 + 2)
    block = block + sum * (low | high << 8)
    if (g + 1) % perBlock == 0 or g == groups - 1 then
      total = total + block * d[g // perBlock + 1]
      block = 0
    end
  end
  return total
end

--- One segment's part of every row of the tile.
--- @param tile string
--- @param rows integer rows in the tile
--- @param columns integer columns of the tile, padded to 32
--- @param input table decoded A8 of the segment { q, d, q2, d2 }
--- @param planes integer
--- @return integer[] sat(rs(S, shift) + bias)
function linear.rows(tile, rows, columns, input, planes)
  local groups, multipliers, shifts = layout(tile, rows, columns)
  local out = {}
  for row = 0, rows - 1 do
    local s = dot(tile, row, columns, groups, multipliers, input.q, input.d)
    if planes == 2 then s = s + dot(tile, row, columns, groups, multipliers, input.q2, input.d2) end
    local bias = string.unpack('<i4', tile, shifts + rows + row * 4 + 1)
    out[row + 1] = sat(rs(s, tile:byte(shifts + row + 1)) + bias)
  end
  return out
end

--- Values added to the residual.
--- @param x integer[] residual
--- @param parts integer[][] the linear's parts, one a segment
--- @param from integer values of x before the first of the parts
--- @return integer[]
function linear.residual(x, parts, from)
  local out = {}
  for i = 1, #parts[1] do
    local sum = 0
    for s = 1, #parts do
      sum = sum + parts[s][i]
    end
    out[i] = sat(x[from + i] + sat(sum))
  end
  return out
end

--- Values from..to (1-based) of a row of the embedding.
--- @param tile string the tile that holds the row
--- @param rows integer
--- @param columns integer
--- @param row integer row within the tile, 0-based
--- @param residual integer fraction bits of the residual
--- @return integer[]
function linear.embed(tile, rows, columns, row, residual, from, to)
  local groups, multipliers, shifts = layout(tile, rows, columns)
  local es = tile:byte(shifts + row + 1) - 2 - residual
  local out = {}
  for k = from - 1, to - 1 do
    local w = (tile:byte(row * columns + k + 1) ~ 128) - 128
    local m = string.unpack('<I2', tile, multipliers + (row * groups + k // GROUP) * 2 + 1)
    out[#out + 1] = es >= 0 and rs(w * m, es) or w * m * (1 << -es)
  end
  return out
end

return linear
