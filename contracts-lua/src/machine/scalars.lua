--- Scalar functions of the machine (shared/src/machine/SPEC.md §2).
local numbers = require('apus.machine.numbers')
local tables = require('apus.machine.tables')

local bitlen, rs = numbers.bitlen, numbers.rs
local EXP2, SIN, SIGMOID, LOG2 = tables.EXP2, tables.SIN, tables.SIGMOID, tables.LOG2

local scalars = {}

local ONE = 1 << 30
local TURN = 1 << 21
local QUARTER = 1 << 19

--- 2^-d in Q30.
--- @param d integer Q16, not negative
--- @return integer
function scalars.exp2n(d)
  local n = d >> 16
  if n > 30 then return 0 end
  local i, r = d >> 8 & 255, d & 255
  return EXP2[i] - ((EXP2[i] - EXP2[i + 1]) * r + 128 >> 8) >> n
end

--- @param g integer Q`gate`
--- @param gate integer fraction bits of g
--- @return integer Q30
function scalars.sigmoid(g, gate)
  local a = rs(math.abs(g), gate - 15)
  local s = ONE
  if a < QUARTER then
    local i, r = a >> 9, a & 511
    s = SIGMOID[i] + ((SIGMOID[i + 1] - SIGMOID[i]) * r + 256 >> 9)
  end
  return g >= 0 and s or ONE - s
end

--- @param u integer angle, 2^21 a turn
--- @return integer Q30
local function sine(u)
  local k, w = u >> 19, u & QUARTER - 1
  if k & 1 == 1 then w = QUARTER - w end
  local i, r = w >> 9, w & 511
  local s = SIN[i] + ((SIN[i + 1] - SIN[i]) * r + 256 >> 9)
  return k < 2 and s or -s
end

--- @param u integer angle, 2^21 a turn
--- @return integer Q30
function scalars.cosine(u)
  return sine((u + QUARTER) % TURN)
end

--- (Y, h) with 1/sqrt(v) = Y * 2^-30 * 2^-h, nearly.
--- @param v integer 1..2^50-1
--- @return integer y
--- @return integer h
function scalars.rsqrt(v)
  local b = bitlen(v)
  local e = b + (b & 1)
  local m = e <= 32 and v << 32 - e or v >> e - 32
  local y = 2362232012 - (m * 1288490189 >> 32)
  for _ = 1, 4 do
    local t = y * y >> 31
    y = y * (1610612736 - (m * t >> 32)) >> 30
  end
  return y, e >> 1
end

--- log2 n in Q24.
--- @param n integer 1..2^32-1
--- @return integer
function scalars.log2q(n)
  local b = bitlen(n) - 1
  local m = n << 31 - b & 0x7fffffff
  local i, r = m >> 23, m >> 8 & 32767
  return (b << 24) + LOG2[i] + ((LOG2[i + 1] - LOG2[i]) * r + 16384 >> 15)
end

--- Philox4x32-10 of Random123.
--- @return integer, integer, integer, integer four u32
function scalars.philox(k0, k1, c0, c1, c2, c3)
  for round = 1, 10 do
    if round > 1 then
      k0, k1 = k0 + 0x9E3779B9 & 0xffffffff, k1 + 0xBB67AE85 & 0xffffffff
    end
    -- The products are unsigned and below 2^64; their high halves are made from parts that stay below 2^63.
    local low0, low1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
    local high0 = 0xD251 * c0 + ((0x1F53 * c0) >> 16) >> 16
    local high1 = 0xCD9E * c2 + ((0x8D57 * c2) >> 16) >> 16
    c0, c1, c2, c3 = high1 ~ c1 ~ k0, low1 & 0xffffffff, high0 ~ c3 ~ k1, low0 & 0xffffffff
  end
  return c0, c1, c2, c3
end

scalars.sine = sine

return scalars
