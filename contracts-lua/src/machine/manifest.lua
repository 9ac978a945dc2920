--- The first leaf of a bundle: what a model is, within the limits of the machine (shared/src/machine/SPEC.md §5).
local cbor = require('apus.codec.cbor')
local sizes = require('apus.machine.sizes')

local manifest = {}

local MAX_BYTES = 16384
local MAX_NAME = 128
local MAX_STOPS = 64
local MAX_OPERATIONS = 128
local MAX_ATTENTION = 8192
--- Positions of a group of pages, heads of an operation, values of an operation.
local GROUP_POSITIONS = sizes.GROUP_PAGES * sizes.PAGE_ROWS

local INTEGERS = {
  machine = { 1, 1 },
  layers = { 1, 128 },
  width = { 1, 8192 },
  heads = { 1, 128 },
  kvHeads = { 1, 128 },
  headSize = { 8, 128 },
  hidden = { 1, 32768 },
  vocab = { 1, 1 << 18 },
  context = { 1, 1 << 18 },
  epsilon = { 0, (1 << 48) - 1 },
  tokenizerBytes = { 0, 64 << 20 },
}
local FORMATS = {
  residual = { [12] = true, [14] = true, [16] = true, [18] = true },
  qk = { [12] = true, [14] = true, [16] = true, [18] = true },
  value = { [12] = true, [14] = true, [16] = true, [18] = true, [20] = true },
  gate = { [16] = true, [18] = true },
  hidden = { [8] = true, [10] = true, [12] = true, [14] = true, [16] = true, [18] = true },
}
local ONE_OR_TWO = { true, true }
local PLANES = { qkv = ONE_OR_TWO, o = ONE_OR_TWO, gateUp = ONE_OR_TWO, down = ONE_OR_TWO, output = ONE_OR_TWO }
local KEYS = { name = true, tied = true, formats = true, planes = true, stop = true }

local function isInteger(value, least, most)
  return math.type(value) == 'integer' and value >= least and value <= most
end

--- Whether a map has one of its allowed integers under each name and no other name.
local function hasEach(map, allowed)
  if type(map) ~= 'table' then return false end
  for name, values in pairs(allowed) do
    if math.type(map[name]) ~= 'integer' or not values[map[name]] then return false end
  end
  for name in pairs(map) do
    if not allowed[name] then return false end
  end
  return true
end

local function areStops(list, vocab)
  if not cbor.isList(list) or #list > MAX_STOPS then return false end
  local last = -1
  for _, token in ipairs(list) do
    if not isInteger(token, last + 1, vocab - 1) then return false end
    last = token
  end
  return true
end

--- Operations of a layer stage at a position.
--- @param m table manifest
--- @param position integer
--- @return integer
function manifest.layerOperations(m, position)
  local sets, groups = sizes.over(m.heads, sizes.HEAD_SET), position // GROUP_POSITIONS + 1
  local segments = sizes.over(m.hidden, sizes.OPERATION_VALUES)
  local qkv = sizes.over((m.heads + 2 * m.kvHeads) * m.headSize, sizes.OPERATION_VALUES)
  local gateUp = sizes.over(2 * m.hidden, sizes.OPERATION_VALUES)
  return 3 + qkv + 2 + groups * sets + sets + 3 + 3 + gateUp + 1 + (segments > 1 and segments + 1 or 1)
end

local function isLegal(m)
  if type(m) ~= 'table' then return false end
  for name, bounds in pairs(INTEGERS) do
    if not isInteger(m[name], bounds[1], bounds[2]) then return false end
  end
  for name in pairs(m) do
    if not INTEGERS[name] and not KEYS[name] then return false end
  end
  return type(m.name) == 'string' and #m.name <= MAX_NAME
    and type(m.tied) == 'boolean'
    and hasEach(m.formats, FORMATS)
    and hasEach(m.planes, PLANES)
    and m.headSize & (m.headSize - 1) == 0
    and m.heads % m.kvHeads == 0
    and m.heads * m.headSize <= MAX_ATTENTION
    and areStops(m.stop, m.vocab)
    and manifest.layerOperations(m, m.context - 1) <= MAX_OPERATIONS
end

--- The manifest that the leaf holds, or nil when it is not one that the machine allows.
--- @param leaf string
--- @return table | nil
function manifest.read(leaf)
  if #leaf > MAX_BYTES then return nil end
  local m = cbor.decode(leaf)
  return isLegal(m) and m or nil
end

return manifest
