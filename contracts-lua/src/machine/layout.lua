--- The order of a bundle's leaves, which follows from its manifest (shared/src/machine/SPEC.md §5).
local sizes = require('apus.machine.sizes')
local over = sizes.over
local layout = {}

local MANIFEST, FREQUENCIES, FIRST_GAIN = 0, 1, 2

local function tileRows(columns)
  local width = math.min(over(columns, sizes.GROUP) * sizes.GROUP, sizes.SEGMENT)
  local rows = sizes.MAX_TILE_ROWS
  while rows * width > sizes.TILE_WEIGHTS do
    rows = rows // 2
  end
  return rows
end

local function tensor(rows, columns, planes)
  local perTile, segments = tileRows(columns), over(columns, sizes.SEGMENT)
  return {
    rows = rows,
    columns = columns,
    planes = planes,
    tileRows = perTile,
    segments = segments,
    leaves = over(rows, perTile) * segments,
  }
end

local function at(first, of)
  of.first = first
  return first + of.leaves
end

--- Where everything lies.
--- @param m table manifest
--- @return table layout { frequencies, gainLeaves, embedding, output, leafCount } for `gains`, `layer` and `tile`
function layout.of(m)
  local attention = m.heads * m.headSize
  local gainLeaves = over(m.width, sizes.LEAF_VALUES)
  local next = FIRST_GAIN + gainLeaves * (2 * m.layers + 1)
  local embedding = not m.tied and tensor(m.vocab, m.width, m.planes.output)
  local output = tensor(m.vocab, m.width, m.planes.output)
  if embedding then next = at(next, embedding) end
  next = at(next, output)
  local perLayer = {
    qkv = tensor((m.heads + 2 * m.kvHeads) * m.headSize, m.width, m.planes.qkv),
    o = tensor(m.width, attention, m.planes.o),
    gateUp = tensor(2 * m.hidden, m.width, m.planes.gateUp),
    down = tensor(m.width, m.hidden, m.planes.down),
  }
  local layerLeaves = at(at(at(at(0, perLayer.qkv), perLayer.o), perLayer.gateUp), perLayer.down)
  local pieces = next + m.layers * layerLeaves
  return {
    manifest = MANIFEST,
    frequencies = FREQUENCIES,
    gainLeaves = gainLeaves,
    embedding = embedding or output,
    output = output,
    firstLayer = next,
    perLayer = perLayer,
    layerLeaves = layerLeaves,
    pieces = pieces,
    leafCount = pieces + over(m.vocab, sizes.PIECES_PER_LEAF) + over(m.tokenizerBytes, sizes.TOKENIZER_LEAF),
  }
end

--- First gain leaf of norm n: 2 * layer, 2 * layer + 1, and 2 * layers for the final one.
--- @return integer
function layout.gains(of, norm)
  return FIRST_GAIN + norm * of.gainLeaves
end

--- A tensor of a layer.
--- @param of table layout
--- @param layer integer 0-based
--- @param name string qkv, o, gateUp or down
--- @return table tensor
function layout.ofLayer(of, layer, name)
  local found = {}
  for key, value in pairs(of.perLayer[name]) do
    found[key] = value
  end
  found.first = of.firstLayer + layer * of.layerLeaves + found.first
  return found
end

--- The tile that holds a row's segment.
--- @param of table tensor
--- @param row integer
--- @param segment integer
--- @return table { leaf, row = first row, rows, columns = padded to 32, used = columns before padding }
function layout.tile(of, row, segment)
  local block = row // of.tileRows
  local first, from = block * of.tileRows, segment * sizes.SEGMENT
  return {
    leaf = of.first + block * of.segments + segment,
    row = first,
    rows = math.min(of.tileRows, of.rows - first),
    columns = math.min(sizes.SEGMENT, over(of.columns, sizes.GROUP) * sizes.GROUP - from),
    used = math.min(sizes.SEGMENT, of.columns - from),
  }
end

return layout
