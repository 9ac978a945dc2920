--- silu(gate) * up, quantised (shared/src/machine/SPEC.md §3.6).
local numbers = require('apus.machine.numbers')
local quantizer = require('apus.machine.quantizer')
local scalars = require('apus.machine.scalars')

local mulrs = numbers.mulrs

local activation = {}

--- @param rows integer[] g0, u0, g1, u1, … for at most 1024 outputs
--- @param gate integer fraction bits of gate and up
--- @param hidden integer fraction bits of the result
--- @param planes integer
--- @return string A8 leaf
function activation.quant(rows, gate, hidden, planes)
  local out = {}
  for i = 1, #rows, 2 do
    local g = rows[i]
    out[#out + 1] = mulrs(mulrs(g, scalars.sigmoid(g, gate), 30), rows[i + 1], 2 * gate - hidden)
  end
  return quantizer.encode(out, planes)
end

return activation
