--- RMS norm in three steps: partial sums, one scale, quantised outputs (shared/src/machine/SPEC.md §3.3).
local numbers = require('apus.machine.numbers')
local quantizer = require('apus.machine.quantizer')
local scalars = require('apus.machine.scalars')
local sizes = require('apus.machine.sizes')

local bitlen, mulrs, rs = numbers.bitlen, numbers.mulrs, numbers.rs

local norm = {}

local BLOCK = sizes.NORM_BLOCK

--- @param x integer[] one leaf of the residual, at most 1024 values
--- @return string per block of 32: u8 s ‖ u32 Q
function norm.part(x)
  local out = {}
  for from = 1, #x, BLOCK do
    local to = math.min(from + BLOCK - 1, #x)
    local most = 0
    for i = from, to do
      most = math.max(most, math.abs(x[i]))
    end
    local s = math.max(0, bitlen(most) - 13)
    local q = 0
    for i = from, to do
      local a = rs(math.abs(x[i]), s)
      q = q + a * a
    end
    out[#out + 1] = string.pack('<I1I4', s, q)
  end
  return table.concat(out)
end

--- @param parts string all leaves of `part`, in order
--- @param epsilon integer
--- @return string u32 Y ‖ u8 k
function norm.scale(parts, epsilon)
  local most = 0
  for at = 1, #parts, 5 do
    most = math.max(most, parts:byte(at))
  end
  local w = epsilon >> 2 * most
  for at = 1, #parts, 5 do
    local s, q = string.unpack('<I1I4', parts, at)
    w = w + (q >> 2 * (most - s))
  end
  local y, h = scalars.rsqrt(math.max(1, w))
  return string.pack('<I4I1', y, h + most)
end

--- @param x integer[] one leaf of the residual
--- @param scale string u32 Y ‖ u8 k
--- @param gains integer[] the leaf of gains at the same place, Q18
--- @param planes integer
--- @return string A8 leaf
function norm.quant(x, scale, gains, planes)
  local y, k = string.unpack('<I4I1', scale)
  local out = {}
  for i = 1, #x do
    out[i] = mulrs(mulrs(x[i], y, k), gains[i], 30)
  end
  return quantizer.encode(out, planes)
end

return norm
