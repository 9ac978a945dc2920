--- Rows of a tile times an A8 vector, and rows of the embedding (shared/src/machine/SPEC.md §3.1, §3.2, §5).
local numbers = require('apus.machine-numbers')

local sat, rs = numbers.sat, numbers.rs

local linear = {}

local GROUP = 32
local BLOCK = 256

--- Where the parts of a tile's bytes stand.
--- @param tile string i8 w[rows][c] ‖ u16 m[rows][c/32] ‖ u8 shift[rows] ‖ i32 bias[rows]
local function layout(tile, rows, columns)
  local groups = columns // GROUP
  local multipliers = rows * columns
  local shifts = multipliers + rows * groups * 2
  assert(#tile == shifts + rows * 5, 'a tile has another length')
  return groups, multipliers, shifts
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
