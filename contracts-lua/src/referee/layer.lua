--- Steps of the embedding and of a layer: each asks for its inputs in the plan's order and gives its chunk's bytes.
local activation = require('apus.machine.activation')
local attention = require('apus.machine.attention')
local layout = require('apus.machine.layout')
local linear = require('apus.machine.linear')
local norm = require('apus.machine.norm')
local numbers = require('apus.machine.numbers')
local quantizer = require('apus.machine.quantizer')
local rows = require('apus.machine.rows')
local sizes = require('apus.machine.sizes')

local LEAF_VALUES, OPERATION_VALUES, SEGMENT = sizes.LEAF_VALUES, sizes.OPERATION_VALUES, sizes.SEGMENT
local LEAVES, SEGMENT_LEAVES = OPERATION_VALUES // LEAF_VALUES, SEGMENT // LEAF_VALUES

local steps = {}

local function integers(leaf)
  return numbers.readI32(leaf, 1, #leaf // 4)
end

--- One leaf of i32 values of an operation.
local function leafOf(read, name, leaf)
  return integers(read:value(name, leaf, 1)[1])
end

local function tileOf(read, tensor, row, segment)
  local place = layout.tile(tensor, row, segment)
  return read:bundle(place.leaf), place
end

steps['embed'] = function(read, _, chunk)
  local m, position = read.manifest, read.step.position
  local token = read:tokens(position, position)[1]
  local place = layout.tile(read.layout.embedding, token, 0)
  local tile = read:bundle(place.leaf)
  local from = chunk * LEAF_VALUES
  local to = math.min(from + LEAF_VALUES, m.width)
  return numbers.writeI32(
    linear.embed(tile, place.rows, place.columns, token - place.row, m.formats.residual, from + 1, to)
  )
end

steps['norm.part'] = function(read, operation, chunk)
  return norm.part(leafOf(read, operation.x, chunk))
end

steps['norm.scale'] = function(read, operation)
  local parts = read:operation(operation.parts)
  return norm.scale(table.concat(read:value(operation.parts, 0, parts.leaves)), read.manifest.epsilon)
end

steps['norm.quant'] = function(read, operation, chunk)
  local x = leafOf(read, operation.x, chunk)
  local scale = read:value(operation.scale, 0, 1)[1]
  local gains = integers(read:bundle(layout.gains(read.layout, operation.norm) + chunk))
  return norm.quant(x, scale, gains, operation.planes)
end

steps['linear'] = function(read, operation, chunk)
  local tensor, segment = operation.tensor, operation.segment
  local first = chunk * tensor.tileRows
  local columns = math.min(SEGMENT, tensor.columns - segment * SEGMENT)
  local count = (columns + LEAF_VALUES - 1) // LEAF_VALUES
  local input = { q = {}, d = {}, q2 = {}, d2 = {} }
  for i, leaf in ipairs(read:value(operation.input, segment * SEGMENT_LEAVES, count)) do
    quantizer.decode(leaf, math.min(LEAF_VALUES, columns - (i - 1) * LEAF_VALUES), tensor.planes, input)
  end
  local tile, place = tileOf(read, tensor, operation.from + first, segment)
  local out = linear.rows(tile, place.rows, place.columns, input, tensor.planes)
  if operation.residual then
    local x = leafOf(read, operation.residual, first // LEAF_VALUES)
    out = linear.residual(x, { out }, first % LEAF_VALUES)
  end
  return numbers.writeI32(out)
end

steps['sum'] = function(read, operation, chunk)
  local parts = {}
  for s, name in ipairs(operation.parts) do
    parts[s] = leafOf(read, name, chunk)
  end
  return numbers.writeI32(linear.residual(leafOf(read, operation.residual, chunk), parts, 0))
end

steps['row'] = function(read, _, unit)
  local m = read.manifest
  local from = unit * m.headSize
  local within = from % OPERATION_VALUES
  local leaf = read:value('qkv.' .. from // OPERATION_VALUES, within // LEAF_VALUES, 1)[1]
  local head = numbers.readI32(leaf, within % LEAF_VALUES * 4 + 1, m.headSize)
  if unit < m.heads + m.kvHeads then
    head = rows.rotate(head, read:bundle(read.layout.frequencies), read.step.position)
  end
  return rows.encode(head, unit < m.heads and rows.QUERY_LIMIT or rows.CACHE_LIMIT)
end

steps['link'] = function(read, operation, chunk)
  local m, position = read.manifest, read.step.position
  local head, kind = chunk // 2, chunk % 2
  local row = read:value('rows', m.heads + kind * m.kvHeads + head, 1)[1]
  local page = read:page(position // sizes.PAGE_ROWS, operation.layer, head, kind)
  return rows.ofPage(page, position % sizes.PAGE_ROWS, m.headSize) == row and '\1' or nil
end

steps['page'] = function(read, operation, chunk)
  local m = read.manifest
  local head = operation.head + chunk // operation.runLength
  local page = operation.page + chunk % operation.runLength
  local query = read:value('rows', head, 1)[1]
  local kvHead = head * m.kvHeads // m.heads
  local keys = read:page(page, operation.layer, kvHead, 0)
  local values = read:page(page, operation.layer, kvHead, 1)
  local count = math.min(sizes.PAGE_ROWS, read.step.position + 1 - page * sizes.PAGE_ROWS)
  return attention.page(query, keys, values, count, m.headSize, m.formats.qk)
end

steps['group'] = function(read, operation, chunk)
  local head, group = chunk // operation.runLength, chunk % operation.runLength
  return attention.group(read:run('page.' .. group .. '.' .. operation.set, head), read.manifest.headSize)
end

steps['out'] = function(read, _, head)
  local groups = read:run('group.' .. head // sizes.HEAD_SET, head % sizes.HEAD_SET)
  return numbers.writeI32(attention.out(groups, read.manifest.headSize))
end

steps['quant'] = function(read, operation, chunk)
  return quantizer.encode(leafOf(read, 'out', chunk), operation.planes)
end

steps['act'] = function(read, operation, chunk)
  local formats = read.manifest.formats
  local name, first = 'gate_up.' .. 2 * chunk // LEAVES, 2 * chunk % LEAVES
  local pairs = read:operation(name)
  local leaves = read:value(name, first, math.min(2, pairs.leaves - first))
  return activation.quant(integers(table.concat(leaves)), formats.gate, formats.hidden, operation.planes)
end

return steps
