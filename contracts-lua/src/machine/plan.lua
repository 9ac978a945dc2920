--- The plan of the machine (shared/src/machine/SPEC.md §6): which operations a stage of a position has, in their order,
--- of which leaves each value consists and in which chunks it is recomputed.
local layout = require('apus.machine.layout')
local sizes = require('apus.machine.sizes')

local plan = {}

local over = sizes.over
local LEAF_VALUES, OPERATION_VALUES = sizes.LEAF_VALUES, sizes.OPERATION_VALUES
local PAGE, GROUP_PAGES, HEAD_SET = sizes.PAGE_ROWS, sizes.GROUP_PAGES, sizes.HEAD_SET
local Q16_ONE = 65536

plan.EMBED = 0
--- Stands for the value of the previous stage where an operation's name would stand.
plan.PREVIOUS = 'previous'

--- @return boolean
function plan.usesTopK(m, settings)
  return settings.temperature > 0 and settings.topK > 0 and settings.topK < m.vocab
end

--- @return boolean
function plan.usesTopP(settings)
  return settings.temperature > 0 and settings.topP < Q16_ONE
end

-- Values. `bytesOf` says how long a leaf is; `leafOf` where a chunk lies when it is less than a leaf.

local function i32(values)
  return {
    leaves = over(values, LEAF_VALUES),
    bytesOf = function(leaf)
      return math.min(LEAF_VALUES, values - leaf * LEAF_VALUES) * 4
    end,
  }
end

local function a8(values, planes)
  return {
    leaves = over(values, LEAF_VALUES),
    bytesOf = function(leaf)
      local count = math.min(LEAF_VALUES, values - leaf * LEAF_VALUES)
      return count * planes + over(count, sizes.A8_BLOCK) * 4
    end,
  }
end

local function normParts(values)
  local blocks = over(values, sizes.NORM_BLOCK)
  return {
    leaves = over(blocks, sizes.NORM_BLOCK),
    bytesOf = function(leaf)
      return math.min(sizes.NORM_BLOCK, blocks - leaf * sizes.NORM_BLOCK) * 5
    end,
  }
end

local function equal(leaves, bytes)
  return {
    leaves = leaves,
    bytesOf = function()
      return bytes
    end,
  }
end

--- Leaves grouped into runs of one length.
local function runs(count, length, bytes)
  local value = equal(count * length, bytes)
  value.runs, value.runLength = count, length
  return value
end

-- Lists of operations.

local function add(list, name, kind, value, fields)
  local operation = fields or {}
  operation.name, operation.kind = name, kind
  operation.leaves, operation.bytesOf = value.leaves, value.bytesOf
  operation.runs, operation.runLength = value.runs, value.runLength
  operation.chunks = operation.chunks or value.leaves
  list[#list + 1] = operation
  list.index[name] = #list
end

--- A list of one leaf in which each tile of tokens has `bytes`.
local function addTiles(list, name, kind, m, bytes)
  local tiles = over(m.vocab, sizes.TILE_TOKENS)
  add(list, name, kind, equal(1, tiles * bytes), { chunks = tiles, chunkBytes = bytes })
end

--- Rows from..from + values - 1 of a tensor times an A8 vector.
local function addLinear(list, name, tensor, input, from, values, fields)
  local operation = fields or {}
  operation.tensor, operation.input, operation.from, operation.values = tensor, input, from, values
  operation.segment = operation.segment or 0
  operation.chunks = over(values, tensor.tileRows)
  operation.chunkBytes = tensor.tileRows * 4
  add(list, name, 'linear', i32(values), operation)
end

--- All rows of a tensor in operations of 8192.
local function addSlices(list, name, tensor, input)
  for i = 0, over(tensor.rows, OPERATION_VALUES) - 1 do
    local from = i * OPERATION_VALUES
    addLinear(list, name .. '.' .. i, tensor, input, from, math.min(OPERATION_VALUES, tensor.rows - from))
  end
end

local function addNorm(list, m, name, x, norm, planes)
  add(list, name .. '.part', 'norm.part', normParts(m.width), { x = x })
  add(list, name .. '.scale', 'norm.scale', equal(1, 5), { parts = name .. '.part' })
  add(list, name .. '.quant', 'norm.quant', a8(m.width, planes), {
    x = x, scale = name .. '.scale', norm = norm, planes = planes,
  })
end

local function addAttention(list, m, position)
  local node = 9 + 4 * m.headSize
  local pages = position // PAGE + 1
  local groups, sets = over(pages, GROUP_PAGES), over(m.heads, HEAD_SET)
  for g = 0, groups - 1 do
    local first = g * GROUP_PAGES
    for c = 0, sets - 1 do
      local heads = math.min(HEAD_SET, m.heads - c * HEAD_SET)
      add(list, 'page.' .. g .. '.' .. c, 'page', runs(heads, math.min(GROUP_PAGES, pages - first), node), {
        head = c * HEAD_SET, page = first,
      })
    end
  end
  for c = 0, sets - 1 do
    local heads = math.min(HEAD_SET, m.heads - c * HEAD_SET)
    add(list, 'group.' .. c, 'group', runs(heads, groups, node), { set = c })
  end
  add(list, 'out', 'out', i32(m.heads * m.headSize), { chunks = m.heads, chunkBytes = m.headSize * 4 })
end

local function addFeedForward(list, m, of, layer, gateUp)
  local down = layout.ofLayer(of, layer, 'down')
  addSlices(list, 'gate_up', gateUp, 'n2.quant')
  add(list, 'act', 'act', a8(m.hidden, down.planes), { planes = down.planes })
  if down.segments == 1 then
    addLinear(list, 'down', down, 'act', 0, m.width, { residual = 'o' })
    return
  end
  local parts = {}
  for s = 0, down.segments - 1 do
    parts[s + 1] = 'down.part.' .. s
    addLinear(list, parts[s + 1], down, 'act', 0, m.width, { segment = s })
  end
  add(list, 'down', 'sum', i32(m.width), { parts = parts, residual = 'o' })
end

--- `whole` is false where a layer ends with its K/V rows.
local function layerOperations(list, m, of, position, layer, whole)
  local qkv, gateUp = layout.ofLayer(of, layer, 'qkv'), layout.ofLayer(of, layer, 'gateUp')
  local o = layout.ofLayer(of, layer, 'o')
  addNorm(list, m, 'n1', plan.PREVIOUS, 2 * layer, qkv.planes)
  addSlices(list, 'qkv', qkv, 'n1.quant')
  add(list, 'rows', 'row', equal(m.heads + 2 * m.kvHeads, 1 + 2 * m.headSize))
  add(list, 'link', 'link', equal(2 * m.kvHeads, 1), { layer = layer, check = true })
  if not whole then return end
  addAttention(list, m, position)
  for i = 1, #list do
    if list[i].kind == 'page' then list[i].layer = layer end
  end
  add(list, 'out.quant', 'quant', a8(m.heads * m.headSize, o.planes), { planes = o.planes })
  addLinear(list, 'o', o, 'out.quant', 0, m.width, { residual = plan.PREVIOUS })
  addNorm(list, m, 'n2', 'o', 2 * layer + 1, gateUp.planes)
  addFeedForward(list, m, of, layer, gateUp)
end

local function headOperations(list, m, of, settings)
  local ranked = equal(1, 8)
  addNorm(list, m, 'nf', plan.PREVIOUS, 2 * m.layers, of.output.planes)
  addSlices(list, 'logits', of.output, 'nf.quant')
  for i = 0, over(m.vocab, OPERATION_VALUES) - 1 do
    local from = i * OPERATION_VALUES
    add(list, 'scores.' .. i, 'scores', i32(math.min(OPERATION_VALUES, m.vocab - from)), { from = from })
  end
  addTiles(list, 'max.tile', 'max.tile', m, 8)
  add(list, 'max', 'best', ranked, { tiles = 'max.tile' })
  local topK, topP = plan.usesTopK(m, settings), plan.usesTopP(settings)
  if topK then
    add(list, 'topk.tau', 'advice', ranked, { advice = true })
    addTiles(list, 'topk.count', 'topk.count', m, 4)
    add(list, 'topk.check', 'topk.check', equal(1, 1), { check = true })
  end
  if topP then
    addTiles(list, 'topp.mass', 'topp.mass', m, 8)
    add(list, 'topp.tau', 'advice', ranked, { advice = true })
    addTiles(list, 'topp.before', 'topp.before', m, 8)
    add(list, 'topp.check', 'topp.check', equal(1, 1), { check = true })
  end
  if settings.temperature > 0 then
    addTiles(list, 'pick.tile', 'pick.tile', m, 8)
    add(list, 'pick', 'best', ranked, { tiles = 'pick.tile' })
  end
  add(list, 'stop', 'stop', equal(1, 5))
end

--- Stages of a position: embed, the layers, and from the last prompt token on the head.
--- @param m table manifest
--- @param promptLength integer
--- @param position integer
--- @return integer
function plan.stages(m, promptLength, position)
  return position >= promptLength - 1 and m.layers + 2 or m.layers + 1
end

--- The operations of a stage in their order; `index` finds one by its name. Each has `name`, `kind`, `leaves`,
--- `bytesOf` (length of a leaf) and `chunks`; `runs` and `runLength` where leaves are grouped; `chunkBytes` where a
--- chunk is less than a leaf, so that the value itself is asked for and not its leaves' hashes; `advice` where nothing
--- recomputes it; `check` where only a byte of 1 is legal.
--- @param m table manifest
--- @param settings table the job's sampler
--- @param position integer
--- @param promptLength integer
--- @param stage integer one that the position has
--- @return table[]
function plan.operations(m, settings, position, promptLength, stage)
  local list, of = { index = {} }, layout.of(m)
  if stage == plan.EMBED then
    add(list, 'embed', 'embed', i32(m.width))
  elseif stage <= m.layers then
    layerOperations(list, m, of, position, stage - 1, stage < m.layers or position >= promptLength - 1)
  else
    headOperations(list, m, of, settings)
  end
  return list
end

--- The value of a stage, which the next one reads as `previous`: the residual.
--- @param m table manifest
--- @return table { leaves, bytesOf }
function plan.residual(m)
  return i32(m.width)
end

--- Leaves of the K/V tree of a run, and the index of a page among them.
--- @param kind integer 0 keys, 1 values
function plan.pageLeaf(m, page, layer, head, kind)
  return ((page * m.layers + layer) * m.kvHeads + head) * 2 + kind
end

--- @param positions integer positions that the run fed
--- @return integer
function plan.pageLeaves(m, positions)
  return over(positions, PAGE) * m.layers * m.kvHeads * 2
end

return plan
