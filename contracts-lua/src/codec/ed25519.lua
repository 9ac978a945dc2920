--- Ed25519 (RFC 8032) verification, strict: S below the group's order, the key a canonical point that is not of small
--- order, no factor 8 in the equation. Nothing here is secret, so nothing takes constant time.
local sha512 = require('apus.codec.sha512')

local ed25519 = {}

-- Numbers mod p = 2^255 - 19: ten limbs of 26 bits, lowest first. Products of limbs below 2^29 add up to less than
-- 2^63.

local BITS, MASK, LIMBS = 26, 0x3ffffff, 10
--- 2^260 mod p.
local FOLD = 608
--- 128 p in limbs that are larger than any limb that is subtracted.
local BIAS = { 4 * (MASK + 1 - FOLD) }
for i = 2, LIMBS do
  BIAS[i] = 4 * MASK
end
local ZERO, ONE = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
--- Bits of the last limb below 2^255.
local LAST_BITS = 21

local function add(a, b)
  local out = {}
  for i = 1, LIMBS do
    out[i] = a[i] + b[i]
  end
  return out
end

--- @param b table limbs below 2^28 - 4 * FOLD: a product or a sum of two
local function sub(a, b)
  local out = {}
  for i = 1, LIMBS do
    out[i] = a[i] + BIAS[i] - b[i]
  end
  return out
end

--- @param a table limbs below 2^29
--- @param b table limbs below 2^29
local function mul(a, b)
  local a0, a1, a2, a3, a4, a5, a6, a7, a8, a9 = a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10]
  local b0, b1, b2, b3, b4, b5, b6, b7, b8, b9 = b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10]
  local c0 = a0 * b0
  local c1 = a0 * b1 + a1 * b0
  local c2 = a0 * b2 + a1 * b1 + a2 * b0
  local c3 = a0 * b3 + a1 * b2 + a2 * b1 + a3 * b0
  local c4 = a0 * b4 + a1 * b3 + a2 * b2 + a3 * b1 + a4 * b0
  local c5 = a0 * b5 + a1 * b4 + a2 * b3 + a3 * b2 + a4 * b1 + a5 * b0
  local c6 = a0 * b6 + a1 * b5 + a2 * b4 + a3 * b3 + a4 * b2 + a5 * b1 + a6 * b0
  local c7 = a0 * b7 + a1 * b6 + a2 * b5 + a3 * b4 + a4 * b3 + a5 * b2 + a6 * b1 + a7 * b0
  local c8 = a0 * b8 + a1 * b7 + a2 * b6 + a3 * b5 + a4 * b4 + a5 * b3 + a6 * b2 + a7 * b1 + a8 * b0
  local c9 = a0 * b9 + a1 * b8 + a2 * b7 + a3 * b6 + a4 * b5 + a5 * b4 + a6 * b3 + a7 * b2 + a8 * b1 + a9 * b0
  local c10 = a1 * b9 + a2 * b8 + a3 * b7 + a4 * b6 + a5 * b5 + a6 * b4 + a7 * b3 + a8 * b2 + a9 * b1
  local c11 = a2 * b9 + a3 * b8 + a4 * b7 + a5 * b6 + a6 * b5 + a7 * b4 + a8 * b3 + a9 * b2
  local c12 = a3 * b9 + a4 * b8 + a5 * b7 + a6 * b6 + a7 * b5 + a8 * b4 + a9 * b3
  local c13 = a4 * b9 + a5 * b8 + a6 * b7 + a7 * b6 + a8 * b5 + a9 * b4
  local c14 = a5 * b9 + a6 * b8 + a7 * b7 + a8 * b6 + a9 * b5
  local c15 = a6 * b9 + a7 * b8 + a8 * b7 + a9 * b6
  local c16 = a7 * b9 + a8 * b8 + a9 * b7
  local c17 = a8 * b9 + a9 * b8
  local c18 = a9 * b9
  c10, c11 = c10 & MASK, c11 + (c10 >> BITS)
  c11, c12 = c11 & MASK, c12 + (c11 >> BITS)
  c12, c13 = c12 & MASK, c13 + (c12 >> BITS)
  c13, c14 = c13 & MASK, c14 + (c13 >> BITS)
  c14, c15 = c14 & MASK, c15 + (c14 >> BITS)
  c15, c16 = c15 & MASK, c16 + (c15 >> BITS)
  c16, c17 = c16 & MASK, c17 + (c16 >> BITS)
  c17, c18 = c17 & MASK, c18 + (c17 >> BITS)
  local c19 = c18 >> BITS
  c18 = c18 & MASK
  c0 = c0 + FOLD * c10
  c1 = c1 + FOLD * c11 + (c0 >> BITS)
  c2 = c2 + FOLD * c12 + (c1 >> BITS)
  c3 = c3 + FOLD * c13 + (c2 >> BITS)
  c4 = c4 + FOLD * c14 + (c3 >> BITS)
  c5 = c5 + FOLD * c15 + (c4 >> BITS)
  c6 = c6 + FOLD * c16 + (c5 >> BITS)
  c7 = c7 + FOLD * c17 + (c6 >> BITS)
  c8 = c8 + FOLD * c18 + (c7 >> BITS)
  c9 = c9 + FOLD * c19 + (c8 >> BITS)
  c0 = (c0 & MASK) + FOLD * (c9 >> BITS)
  return {
    c0 & MASK, (c1 & MASK) + (c0 >> BITS), c2 & MASK, c3 & MASK, c4 & MASK,
    c5 & MASK, c6 & MASK, c7 & MASK, c8 & MASK, c9 & MASK,
  }
end

local function squared(a, times)
  for _ = 1, times do
    a = mul(a, a)
  end
  return a
end

--- The number that 32 bytes stand for, lowest first, without their highest bit.
local function decode(bytes)
  local out, held, bits, at = {}, 0, 0, 1
  for i = 1, LIMBS do
    while bits < BITS and at <= 32 do
      held, bits, at = held | bytes:byte(at) << bits, bits + 8, at + 1
    end
    out[i], held, bits = held & MASK, held >> BITS, bits - BITS
  end
  out[LIMBS] = out[LIMBS] & (1 << LAST_BITS) - 1
  return out
end

--- Adds to the first limb and carries up; returns what is left above 2^255.
local function settle(limbs, carry)
  for i = 1, LIMBS - 1 do
    local v = limbs[i] + carry
    limbs[i], carry = v & MASK, v >> BITS
  end
  local v = limbs[LIMBS] + carry
  limbs[LIMBS] = v & (1 << LAST_BITS) - 1
  return v >> LAST_BITS
end

--- The canonical 32 bytes of a number.
local function encode(a)
  local limbs = table.move(a, 1, LIMBS, 1, {})
  settle(limbs, 19 * settle(limbs, 19 * settle(limbs, 0)))
  -- Below 2^255 now: at most p too large.
  local raised = table.move(limbs, 1, LIMBS, 1, {})
  if settle(raised, 19) > 0 then limbs = raised end
  local out, held, bits = {}, 0, 0
  for i = 1, LIMBS do
    held, bits = held | limbs[i] << bits, bits + BITS
    while bits >= 8 do
      out[#out + 1] = string.char(held & 255)
      held, bits = held >> 8, bits - 8
    end
  end
  return table.concat(out, '', 1, 32)
end

local function equal(a, b)
  return encode(a) == encode(b)
end

--- a^(2^250 - 1) and a^11.
local function chain(a)
  local a2 = mul(a, a)
  local a9 = mul(squared(a2, 2), a)
  local a11 = mul(a9, a2)
  local a5 = mul(mul(a11, a11), a9)
  local a10 = mul(squared(a5, 5), a5)
  local a20 = mul(squared(a10, 10), a10)
  local a50 = mul(squared(mul(squared(a20, 20), a20), 10), a10)
  local a100 = mul(squared(a50, 50), a50)
  return mul(squared(mul(squared(a100, 100), a100), 50), a50), a11
end

local function inverse(a)
  local high, a11 = chain(a)
  return mul(squared(high, 5), a11)
end

--- a^((p - 5) / 8).
local function rootPower(a)
  local high = chain(a)
  return mul(squared(high, 2), a)
end

-- Points of -x² + y² = 1 + d x² y² as (X : Y : Z : T), x = X / Z, y = Y / Z, xy = T / Z.

local function bytesOf(hex)
  return (hex:gsub('%x%x', function(byte) return string.char(tonumber(byte, 16)) end))
end

local D = decode(bytesOf('a3785913ca4deb75abd841414d0a700098e879777940c78c73fe6f2bee6c0352'))
local TWICE_D = add(D, D)
local ROOT_OF_MINUS_ONE = decode(bytesOf('b0a00e4a271beec478e42fad0618432fa7d7fb3d99004d2b0bdfc14f8024832b'))
local BASE = '\x58' .. ('\x66'):rep(31)
local NEUTRAL = { ZERO, ONE, ONE, ZERO }

local function double(p)
  local a, b, z = mul(p[1], p[1]), mul(p[2], p[2]), mul(p[3], p[3])
  local sum, h = add(p[1], p[2]), add(a, b)
  local e, g = sub(h, mul(sum, sum)), sub(a, b)
  local f = add(add(z, z), g)
  return { mul(e, f), mul(g, h), mul(f, g), mul(e, h) }
end

--- A point as the second of a sum: Y - X, Y + X, 2 d T, 2 Z.
local function addend(p)
  return { sub(p[2], p[1]), add(p[2], p[1]), mul(TWICE_D, p[4]), add(p[3], p[3]) }
end

--- @param q table addend
local function plus(p, q)
  local a, b = mul(sub(p[2], p[1]), q[1]), mul(add(p[2], p[1]), q[2])
  local c, d = mul(p[4], q[3]), mul(p[3], q[4])
  local e, f, g, h = sub(b, a), sub(d, c), add(d, c), add(b, a)
  return { mul(e, f), mul(g, h), mul(f, g), mul(e, h) }
end

--- The point that 32 bytes are the one encoding of, or nil.
local function point(bytes)
  local y, odd = decode(bytes), bytes:byte(32) >> 7
  if encode(y) ~= bytes:sub(1, 31) .. string.char(bytes:byte(32) & 127) then return nil end
  local yy = mul(y, y)
  local u, v = sub(yy, ONE), add(mul(D, yy), ONE)
  local v3 = mul(mul(v, v), v)
  local x = mul(mul(u, v3), rootPower(mul(mul(u, v), mul(v3, v3))))
  local vxx = mul(v, mul(x, x))
  if not equal(vxx, u) then
    if not equal(add(vxx, u), ZERO) then return nil end
    x = mul(x, ROOT_OF_MINUS_ONE)
  end
  local text = encode(x)
  if text:byte() & 1 ~= odd then
    if text == encode(ZERO) then return nil end
    x = mul(sub(ZERO, x), ONE)
  end
  return { x, y, ONE, mul(x, y) }
end

local function encodedPoint(p)
  local z = inverse(p[3])
  local x, y = encode(mul(p[1], z)), encode(mul(p[2], z))
  return y:sub(1, 31) .. string.char(y:byte(32) | (x:byte() & 1) << 7)
end

-- Scalars: eight words of 32 bits, lowest first.

local WORD = 0xffffffff
local SCALAR = '<I4I4I4I4I4I4I4I4'
local ORDER = { string.unpack(SCALAR, bytesOf('edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010')) }

local function isBelowOrder(words)
  for i = 8, 1, -1 do
    if words[i] ~= ORDER[i] then return words[i] < ORDER[i] end
  end
  return false
end

--- 64 bytes, lowest first, mod the group's order.
local function reduced(bytes)
  local r = { 0, 0, 0, 0, 0, 0, 0, 0 }
  for at = 64, 1, -1 do
    local byte = bytes:byte(at)
    for bit = 7, 0, -1 do
      local carry = byte >> bit & 1
      for i = 1, 8 do
        local v = r[i] << 1 | carry
        r[i], carry = v & WORD, v >> 32
      end
      if not isBelowOrder(r) then
        local borrow = 0
        for i = 1, 8 do
          local v = r[i] - ORDER[i] - borrow
          r[i], borrow = v & WORD, v >> 63
        end
      end
    end
  end
  return r
end

--- Addends of 1 to 15 times a point.
local function multiples(p)
  local list = { addend(p) }
  local sum = p
  for i = 2, 15 do
    sum = plus(sum, list[1])
    list[i] = addend(sum)
  end
  return list
end

local ofBase

--- s B + t P, four bits of both at a time.
local function combination(s, t, p)
  ofBase = ofBase or multiples(point(BASE))
  local ofPoint, sum = multiples(p), NEUTRAL
  for digit = 63, 0, -1 do
    if sum ~= NEUTRAL then sum = double(double(double(double(sum)))) end
    local word, shift = digit // 8 + 1, digit % 8 * 4
    local b, q = s[word] >> shift & 15, t[word] >> shift & 15
    if b > 0 then sum = plus(sum, ofBase[b]) end
    if q > 0 then sum = plus(sum, ofPoint[q]) end
  end
  return sum
end

--- Whether the signature is the key's over the message.
--- @param key string 32 bytes
--- @param message string
--- @param signature string 64 bytes
--- @return boolean
function ed25519.verify(key, message, signature)
  if #key ~= 32 or #signature ~= 64 then return false end
  local s = { string.unpack(SCALAR, signature, 33) }
  if not isBelowOrder(s) then return false end
  local a = point(key)
  if not a or equal(double(double(double(a)))[1], ZERO) then return false end
  local r = signature:sub(1, 32)
  local t = reduced(sha512(r .. key .. message))
  -- R = s B - t A.
  local minus = { mul(sub(ZERO, a[1]), ONE), a[2], a[3], mul(sub(ZERO, a[4]), ONE) }
  return encodedPoint(combination(s, t, minus)) == r
end

return ed25519
