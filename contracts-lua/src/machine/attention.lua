--- Attention as a tree of pages, groups and heads (shared/src/machine/SPEC.md §3.5).
local numbers = require('apus.machine.numbers')
local rows = require('apus.machine.rows')
local scalars = require('apus.machine.scalars')
local sizes = require('apus.machine.sizes')

local bitlen, exp2n, rs, sat = numbers.bitlen, scalars.exp2n, numbers.rs, numbers.sat

local attention = {}

local PAGE = sizes.PAGE_ROWS

local function pack(m, e, sum, acc)
  return string.pack('<i4I1I4', m, e, sum) .. numbers.writeI32(acc)
end

local function unpack(node, headSize)
  local m, e, sum = string.unpack('<i4I1I4', node)
  return m, e, sum, numbers.readI32(node, 10, headSize)
end

--- @param query string query row
--- @param keys string K page
--- @param values string V page
--- @param count integer rows of the page that the position sees, 1..64
--- @param headSize integer
--- @param qk integer fraction bits of queries and keys
--- @return string i32 m ‖ u8 E ‖ u32 sum ‖ i32 acc[head size]
function attention.page(query, keys, values, count, headSize, qk)
  local eq, q = rows.decode(query)
  local scores, most, exponent = {}, nil, 0
  for j = 0, count - 1 do
    local p, at = 0, PAGE + j * headSize * 2 + 1
    for i = 1, headSize do
      p = p + q[i] * string.unpack('<i2', keys, at)
      at = at + 2
    end
    local c = 2 * qk - 16 - eq - keys:byte(j + 1)
    local s = c >= 1 and sat(rs(p, c)) or sat(p * (1 << -c))
    scores[j] = s
    if not most or s > most then most = s end
    exponent = math.max(exponent, values:byte(j + 1))
  end
  local sum, acc = 0, {}
  for i = 1, headSize do
    acc[i] = 0
  end
  for j = 0, count - 1 do
    local w = math.min((1 << 20) - 1, exp2n(most - scores[j]) >> 10)
    sum = sum + w
    w = w >> exponent - values:byte(j + 1)
    if w > 0 then
      local at = PAGE + j * headSize * 2 + 1
      for i = 1, headSize do
        acc[i] = acc[i] + w * string.unpack('<i2', values, at)
        at = at + 2
      end
    end
  end
  for i = 1, headSize do
    acc[i] = rs(acc[i], 12)
  end
  return pack(most, exponent, sum, acc)
end

--- Nodes weighed against their greatest maximum.
--- @return integer m
--- @return integer exponent
--- @return integer sum of sum * f
--- @return integer[] sum of acc * f
local function join(nodes, headSize)
  local size = 9 + 4 * headSize
  assert(#nodes > 0 and #nodes % size == 0, 'attention nodes have another length')
  local most, exponent = nil, 0
  for at = 1, #nodes, size do
    local m, e = string.unpack('<i4I1', nodes, at)
    if not most or m > most then most = m end
    exponent = math.max(exponent, e)
  end
  local total, out = 0, {}
  for i = 1, headSize do
    out[i] = 0
  end
  for at = 1, #nodes, size do
    local m, e, sum, acc = unpack(nodes:sub(at, at + size - 1), headSize)
    local f = exp2n(most - m) >> 6
    total = total + sum * f
    f = f >> exponent - e
    if f > 0 then
      for i = 1, headSize do
        out[i] = out[i] + acc[i] * f
      end
    end
  end
  return most, exponent, total, out
end

--- @param pages string pages of one head in a group, in order
--- @param headSize integer
--- @return string like a page
function attention.group(pages, headSize)
  local m, e, sum, acc = join(pages, headSize)
  for i = 1, headSize do
    acc[i] = rs(acc[i], 28)
  end
  return pack(m, e, rs(sum, 24), acc)
end

--- @param groups string groups of one head, in order
--- @param headSize integer
--- @return integer[] outputs of the head
function attention.out(groups, headSize)
  local _, e, s, a = join(groups, headSize)
  local z = bitlen(s) - 31
  local out = {}
  for i = 1, headSize do
    local magnitude = math.abs(a[i])
    local q = (magnitude >> z) * (1 << 22) // (s >> z)
    local v = e >= 6 and sat(q * (1 << e - 6)) or rs(q, 6 - e)
    out[i] = a[i] < 0 and -v or v
  end
  return out
end

return attention
