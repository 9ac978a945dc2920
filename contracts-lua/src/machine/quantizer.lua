--- The A8 vector: i8 values with an integer scale per 256 (shared/src/machine/SPEC.md §1).
local sizes = require('apus.machine.sizes')
local quantizer = {}

local BLOCK = sizes.A8_BLOCK
local SLICE = 128

local function div(v, d)
  if v < 0 then return -((-2 * v + d) // (2 * d)) end
  return (2 * v + d) // (2 * d)
end

--- i8 list as bytes.
local function bytesOf(q)
  local out = {}
  for at = 1, #q, SLICE do
    out[#out + 1] = string.char(table.unpack(q, at, math.min(at + SLICE - 1, #q)))
  end
  return table.concat(out)
end

--- The encoding of one leaf.
--- @param values integer[] at most 1024 i32
--- @param planes integer 1 or 2
--- @return string
function quantizer.encode(values, planes)
  local first, scales, second = {}, {}, {}
  for from = 1, #values, BLOCK do
    local to = math.min(from + BLOCK - 1, #values)
    local most = 0
    for i = from, to do
      local v = values[i]
      if v < 0 then v = -v end
      if v > most then most = v end
    end
    local d = math.max(1, (most + 126) // 127)
    local d2 = math.max(1, (d + 253) // 254)
    scales[#scales + 1] = string.pack('<I4', d)
    for i = from, to do
      local q = div(values[i], d)
      first[i] = q & 255
      if planes == 2 then second[i] = div(values[i] - q * d, d2) & 255 end
    end
  end
  return bytesOf(first) .. table.concat(scales) .. bytesOf(second)
end

--- Reads the leaf that holds `count` values and appends to the columns.
--- @param leaf string
--- @param count integer values in the leaf, at most 1024
--- @param planes integer 1 or 2
--- @param into table { q = integer[], d = integer[], q2 = integer[], d2 = integer[] }
function quantizer.decode(leaf, count, planes, into)
  local blocks = (count + BLOCK - 1) // BLOCK
  assert(#leaf == count * planes + blocks * 4, 'an A8 leaf has another length')
  local base = #into.q
  for i = 1, count do
    into.q[base + i] = (leaf:byte(i) ~ 128) - 128
  end
  for b = 0, blocks - 1 do
    local d = string.unpack('<I4', leaf, count + b * 4 + 1)
    into.d[#into.d + 1] = d
    into.d2[#into.d2 + 1] = math.max(1, (d + 253) // 254)
  end
  if planes == 1 then return end
  local at = count + blocks * 4
  for i = 1, count do
    into.q2[base + i] = (leaf:byte(at + i) ~ 128) - 128
  end
end

return quantizer
