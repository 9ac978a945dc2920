--- What the leaves of a bundle may hold (shared/src/machine/SPEC.md §5; shared/src/machine/domain.ts is its twin).
local layout = require('apus.machine.layout')
local linear = require('apus.machine.linear')
local numbers = require('apus.machine.numbers')
local sizes = require('apus.machine.sizes')

local bundleLeaf = {}

local FREQUENCY_BITS = 44
local LAYER_TENSORS = { 'qkv', 'o', 'gateUp', 'down' }

local function frequencies(m, bytes)
  if #bytes ~= m.headSize * 4 then return false end
  for at = 1, #bytes, 8 do
    if string.unpack('<i8', bytes, at) >> FREQUENCY_BITS ~= 0 then return false end
  end
  return true
end

local function gains(m, leaf, bytes)
  if #bytes ~= 4 * math.min(sizes.LEAF_VALUES, m.width - leaf * sizes.LEAF_VALUES) then return false end
  for at = 1, #bytes, 4 do
    if math.abs(string.unpack('<i4', bytes, at)) > numbers.SAT then return false end
  end
  return true
end

local function tile(m, place, segment, bytes, isEmbedded)
  if #bytes ~= linear.bytes(place.rows, place.columns) then return false end
  if not linear.isLegal(bytes, place.rows, place.columns, place.used, segment) then return false end
  return not isEmbedded or linear.isEmbedding(bytes, place.rows, place.columns, m.formats.residual)
end

local function pieces(m, leaf, bytes)
  local count = math.min(sizes.PIECES_PER_LEAF, m.vocab - leaf * sizes.PIECES_PER_LEAF)
  if #bytes < 2 * count then return false end
  local size = 2 * count
  for i = 0, count - 1 do
    local length = string.unpack('<I2', bytes, 2 * i + 1)
    if length > sizes.MAX_PIECE_BYTES then return false end
    size = size + length
  end
  return size == #bytes
end

--- The tensor that a leaf between the gains and the pieces is a tile of.
--- @return table tensor
local function tensorAt(of, index)
  if index < of.firstLayer then
    return index < of.output.first and of.embedding or of.output
  end
  local layer = (index - of.firstLayer) // of.layerLeaves
  local found
  for _, name in ipairs(LAYER_TENSORS) do
    local tensor = layout.ofLayer(of, layer, name)
    if tensor.first <= index then found = tensor end
  end
  return found
end

--- The leaf between the gains and the pieces as a tile.
--- @return table tensor
--- @return table place { leaf, rows, columns, … }
--- @return integer segment
local function tileAt(of, index)
  local tensor = tensorAt(of, index)
  local block, segment = (index - tensor.first) // tensor.segments, (index - tensor.first) % tensor.segments
  return tensor, layout.tile(tensor, block * tensor.tileRows, segment), segment
end

local function isTile(m, of, index)
  return index >= layout.gains(of, 2 * m.layers + 1) and index < of.pieces
end

--- The leaf with the first segment of the same rows, or nil when this one is no later segment.
--- @param m table manifest
--- @param index integer
--- @return integer | nil leaf
function bundleLeaf.firstSegment(m, index)
  local of = layout.of(m)
  if not isTile(m, of, index) then return nil end
  local _, _, segment = tileAt(of, index)
  return segment > 0 and index - segment or nil
end

--- Whether two legal tiles of the same rows give each of them the same shift.
--- @param first string tile of the first segment
--- @param index integer of a later segment
--- @param bytes string its tile
--- @return boolean
function bundleLeaf.hasSameShifts(m, first, index, bytes)
  local of = layout.of(m)
  local _, place, segment = tileAt(of, index)
  local _, before = tileAt(of, index - segment)
  if #first ~= linear.bytes(before.rows, before.columns) then return false end
  return linear.shifts(first, before.rows, before.columns) == linear.shifts(bytes, place.rows, place.columns)
end

--- Whether the machine allows these bytes as that leaf. The first one, the manifest, was checked when it was listed.
--- @param m table manifest
--- @param index integer below the number of leaves
--- @param bytes string
--- @return boolean
function bundleLeaf.isLegal(m, index, bytes)
  local of = layout.of(m)
  if index == of.manifest then return true end
  if index == of.frequencies then return frequencies(m, bytes) end
  if isTile(m, of, index) then
    local tensor, place, segment = tileAt(of, index)
    return tile(m, place, segment, bytes, tensor.first == of.embedding.first)
  end
  if index < of.pieces then return gains(m, (index - layout.gains(of, 0)) % of.gainLeaves, bytes) end
  local block = index - of.pieces
  local pieceLeaves = (m.vocab + sizes.PIECES_PER_LEAF - 1) // sizes.PIECES_PER_LEAF
  if block < pieceLeaves then return pieces(m, block, bytes) end
  return #bytes == math.min(sizes.TOKENIZER_LEAF, m.tokenizerBytes - (block - pieceLeaves) * sizes.TOKENIZER_LEAF)
end

return bundleLeaf
