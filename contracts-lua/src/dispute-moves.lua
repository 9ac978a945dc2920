--- The moves of a dispute. Each answer of the accused is checked against what it committed to before it counts, each
--- pick of the challenger narrows the question, until one chunk is left to recompute.
local check = require('apus.check')
local data = require('apus.dispute-data')
local dispute = require('apus.dispute')
local encoding = require('apus.encoding')
local evidence = require('apus.dispute-evidence')
local jobs = require('apus.jobs')
local merkle = require('apus.merkle')
local models = require('apus.models')
local plan = require('apus.plan')
local referee = require('apus.referee')
local refusal = require('apus.refusal')
local state = require('apus.state')
local trees = require('apus.dispute-trees')

local moves = {}

local VALUE, RUN = 'apus.machine.1/value', 'apus.machine.1/run'
local CHECKPOINT, PIECE = 'apus.machine.1/checkpoint', 'apus/answer-piece'
local PROMPT, PAGE = 'apus.machine.1/prompt', 'apus.machine.1/page'
local CHECKPOINT_BYTES = 41
local PROMPT_LEAF_BYTES = 256

local function manifestOf(job)
  return models.get(job.model).manifest
end

--- Positions that the accused's run fed: the last chosen token is never fed.
local function fed(job, seat)
  return job.promptLength + seat.result.count - 1
end

-- Questions: each asks the accused, or the challenger when the accused has answered it before.

local function levelKey(d)
  return 'level.' .. d.tree .. '.' .. d.level .. '.' .. d.node
end

local function pagesKey(d)
  return 'pages.' .. d.pages
end

local function stagesKey(d)
  return 'stages.' .. d.position
end

local function operationsKey(d)
  return 'operations.' .. d.position .. '.' .. d.stage
end

local function chunksKey(d)
  return 'chunks.' .. d.position .. '.' .. d.stage .. '.' .. d.operation
end

local function found(d, key)
  local job = state.jobs[d.job]
  return evidence.find(job, dispute.seat(job, d.accused), key)
end

local function question(d, key, answer, picks)
  if found(d, key) then return dispute.turn(d, 'challenger', picks) end
  dispute.turn(d, 'accused', { answer })
end

local function askLevel(d, level, node)
  d.level, d.node = level, node
  question(d, levelKey(d), 'Answer-Level', { 'Pick-Node' })
end

local function askPages(d, pair)
  d.pages = pair
  question(d, pagesKey(d), 'Answer-Pages', d.asked and { 'Prove-Step', 'Pick-Row' } or { 'Pick-Row' })
end

local function askStages(d, position)
  d.position, d.stage, d.operation, d.asked = position, nil, nil, nil
  question(d, stagesKey(d), 'Answer-Stages', { 'Pick-Stage' })
end

local function askOperations(d, stage)
  d.stage = stage
  question(d, operationsKey(d), 'Answer-Operations', { 'Pick-Operation' })
end

--- The operation that is picked, of the plan.
local function operationOf(d, job)
  local list = plan.operations(manifestOf(job), job.sampler, d.position, job.promptLength, d.stage)
  return list[d.operation + 1], list
end

local function mayAsk(d, operation)
  if operation.kind == 'link' then return true end
  return operation.kind == 'page' and (not d.ceiling or d.stage < d.ceiling)
end

local function askChunks(d, operation)
  d.operation, d.asked = operation, nil
  local picks = { 'Prove-Step' }
  if mayAsk(d, (operationOf(d, state.jobs[d.job]))) then picks[2] = 'Ask-Pages' end
  question(d, chunksKey(d), 'Answer-Chunks', picks)
end

dispute.begins(function(d)
  if d.tree then
    local job = state.jobs[d.job]
    local count = trees.count(d.tree, job, dispute.seat(job, d.accused), manifestOf(job))
    return askLevel(d, trees.first(count), 0)
  end
  if d.pages then return askPages(d, d.pages) end
  askStages(d, d.position)
end)

-- Opening.

--- The prompt's length, from the last leaf of its tree.
local function promptLength(job, m, fields)
  if job.promptLength then return job.promptLength end
  if not fields.prompt then
    refusal.raise('no-prompt-length', 'The first dispute of a job shows the last leaf of its prompt tree.')
  end
  local proven = data.leafIn(fields, 'prompt')
  local count = data.count(fields.prompt, 'count', m.context)
  local length = (count - 1) * (PROMPT_LEAF_BYTES // 4) + #proven.leaf // 4
  local isLast = #proven.leaf > 0 and #proven.leaf <= PROMPT_LEAF_BYTES and #proven.leaf % 4 == 0
    and data.stands(job.promptTokens, count, count - 1, PROMPT, proven)
  if not isLast or length > m.context then
    refusal.raise('wrong-prompt', 'This is not the last leaf of the prompt tree.')
  end
  return length
end

local TREES = { checkpoints = true, pages = true, answer = true }

--- What the challenger points at: a position, a pair of pages, or a tree of which it knows no leaves.
local function openingOf(tags, m, positions)
  local pages = (positions + plan.PAGE - 1) // plan.PAGE
  local given = 0
  for _, name in ipairs({ 'Position', 'Page', 'Tree' }) do
    if tags[name] then given = given + 1 end
  end
  if given ~= 1 then refusal.raise('bad-tag', 'One of the tags Position, Page and Tree must be given.') end
  if tags.Position then return { position = check.integer(tags, 'Position', 0, positions - 1) } end
  if tags.Page then return { pages = check.integer(tags, 'Page', 0, pages * m.layers * m.kvHeads - 1) } end
  return { tree = check.choice(tags, 'Tree', TREES) }
end

function moves.open(input)
  local tags = input.tags
  local job = jobs.get(check.id(tags, 'Job'))
  local fields = data.fields(input.data)
  local seat = dispute.accuse(job, check.id(tags, 'Accused'), input.from)
  local m = manifestOf(job)
  local length = promptLength(job, m, fields)
  local opening = openingOf(tags, m, length + seat.result.count - 1)
  opening.id, opening.job, opening.accused, opening.challenger = input.id, job.id, seat.miner, input.from
  dispute.open(opening, job, seat, length)
end

-- Answers of the accused: `read` gives the record that is kept, or refuses.

local function answer(move, keyOf, read, picks)
  return function(input)
    local d, job, seat = dispute.due(check.id(input.tags, 'Dispute'), input.from, move)
    local record = read(d, job, seat, data.fields(input.data))
    evidence.keep(job, seat, keyOf(d), record, input.data)
    dispute.moved(d)
    dispute.turn(d, 'challenger', picks(d, job))
  end
end

local function always(...)
  local list = { ... }
  return function() return list end
end

local function readLevel(d, job, seat, fields)
  local m = manifestOf(job)
  local nodes = data.hashes(fields, 'nodes')
  local count = trees.count(d.tree, job, seat, m)
  local expected = trees.shown(count, d.level, d.node)
  if #nodes ~= expected then refusal.raise('wrong-nodes', 'There must be ' .. expected .. ' nodes.') end
  local top = merkle.top(nodes)
  local above = d.above
  if above then
    if top ~= above then refusal.raise('wrong-nodes', 'The nodes do not give the picked node.') end
  elseif encoding.toBase64Url(merkle.seal(count, top)) ~= trees.root(d.tree, seat) then
    refusal.raise('wrong-nodes', 'The nodes do not give the root.')
  end
  return { nodes = nodes }
end

local function pageBytes(m)
  return plan.PAGE * (1 + 2 * m.headSize)
end

--- Whether no row from `rows` on is written.
local function endsAt(page, rows, headSize)
  if rows >= plan.PAGE then return true end
  local exponents, values = page:sub(rows + 1, plan.PAGE), page:sub(plan.PAGE + rows * 2 * headSize + 1)
  return not exponents:find('[^%z]') and not values:find('[^%z]')
end

local function readPages(d, job, seat, fields)
  local m = manifestOf(job)
  local k, v, path = data.bytes(fields, 'k'), data.bytes(fields, 'v'), data.hashes(fields, 'path')
  if #k ~= pageBytes(m) or #v ~= pageBytes(m) then
    refusal.raise('wrong-pages', 'A page has ' .. pageBytes(m) .. ' bytes.')
  end
  local leaf = merkle.leaf(PAGE, v)
  table.insert(path, 1, leaf)
  local leaves, proven = plan.pageLeaves(m, fed(job, seat)), { leaf = k, path = path }
  if not data.stands(seat.result.kvRoot, leaves, 2 * d.pages, PAGE, proven) then
    refusal.raise('wrong-pages', 'The pages do not stand there under the K/V root.')
  end
  local written = fed(job, seat) - d.pages // (m.layers * m.kvHeads) * plan.PAGE
  if not (endsAt(k, written, m.headSize) and endsAt(v, written, m.headSize)) then
    refusal.raise('wrong-pages', 'The pages have rows of positions that were never fed.')
  end
  return {}
end

--- Checks the checkpoint of a position against the accused's roots and the digests of its stages.
local function checkCheckpoint(d, job, seat, fields, digests, layersOf)
  local index, count = d.position - job.promptLength + 1, seat.result.count
  local checkpoint, piece = data.leafIn(fields, 'checkpoint'), data.leafIn(fields, 'piece')
  if #checkpoint.leaf ~= CHECKPOINT_BYTES
    or not data.stands(seat.result.checkpointRoot, count, index, CHECKPOINT, checkpoint) then
    refusal.raise('wrong-checkpoint', 'The checkpoint does not stand there under its root.')
  end
  if not data.stands(seat.result.answerRoot, count, index, PIECE, piece) then
    refusal.raise('wrong-checkpoint', 'The piece does not stand there under the answer root.')
  end
  local chosen = merkle.bytes({ merkle.leaf(VALUE, checkpoint.leaf:sub(5, 9)) })
  if digests[layersOf + 1] ~= checkpoint.leaf:sub(10) or digests[layersOf + 2] ~= chosen then
    refusal.raise('wrong-stages', 'The stages do not give the checkpoint.')
  end
end

local function readStages(d, job, seat, fields)
  local m = manifestOf(job)
  local digests = data.hashes(fields, 'digests')
  local stages = plan.stages(m, job.promptLength, d.position)
  if #digests ~= stages then refusal.raise('wrong-stages', 'There must be ' .. stages .. ' digests.') end
  if d.position >= job.promptLength - 1 then checkCheckpoint(d, job, seat, fields, digests, m.layers) end
  return { digests = digests }
end

--- Advice is shown whole: what follows from it cannot be compared by one who does not know it.
local function checkAdvice(list, digests, fields)
  local shown, at = fields.advice and data.bytes(fields, 'advice') or '', 1
  for i, operation in ipairs(list) do
    if operation.advice then
      local leaf = shown:sub(at, at + operation.bytesOf(0) - 1)
      at = at + operation.bytesOf(0)
      if merkle.bytes({ merkle.leaf(VALUE, leaf) }) ~= digests[i] then
        refusal.raise('wrong-operations', 'The advice does not give its digest.')
      end
    end
  end
  if at ~= #shown + 1 then refusal.raise('wrong-operations', 'The advice has another length.') end
end

local function readOperations(d, job, _, fields)
  local digests = data.hashes(fields, 'digests')
  local list = plan.operations(manifestOf(job), job.sampler, d.position, job.promptLength, d.stage)
  if #digests ~= #list then refusal.raise('wrong-operations', 'There must be ' .. #list .. ' digests.') end
  if digests[#list] ~= found(d, stagesKey(d)).digests[d.stage + 1] then
    refusal.raise('wrong-operations', 'The last operation does not give the stage.')
  end
  checkAdvice(list, digests, fields)
  return { digests = digests }
end

--- The digest of an operation from the hashes of its leaves.
local function operationDigest(operation, hashes)
  if not operation.runs then return merkle.bytes(hashes) end
  local roots = {}
  for run = 1, operation.runs do
    local first = (run - 1) * operation.runLength
    roots[run] = merkle.leaf(RUN, merkle.bytes(table.move(hashes, first + 1, first + operation.runLength, 1, {})))
  end
  return merkle.bytes(roots)
end

--- The leaves of a value that was given whole.
local function hashesOf(operation, values)
  local hashes, at = {}, 1
  for leaf = 0, operation.leaves - 1 do
    local size = operation.bytesOf(leaf)
    hashes[leaf + 1] = merkle.leaf(VALUE, values:sub(at, at + size - 1))
    at = at + size
  end
  if at ~= #values + 1 then refusal.raise('wrong-chunks', 'The values have another length.') end
  return hashes
end

local function readChunks(d, job, _, fields)
  local operation = operationOf(d, job)
  local values = operation.chunkBytes and data.bytes(fields, 'values') or nil
  local hashes = values and hashesOf(operation, values) or data.hashes(fields, 'leaves')
  if #hashes ~= operation.leaves then
    refusal.raise('wrong-chunks', 'There must be ' .. operation.leaves .. ' leaves.')
  end
  if operationDigest(operation, hashes) ~= found(d, operationsKey(d)).digests[d.operation + 1] then
    refusal.raise('wrong-chunks', 'The chunks do not give the operation.')
  end
  return { values = values, leaves = not values and hashes or nil }
end

moves.answerLevel = answer('Answer-Level', levelKey, readLevel, always('Pick-Node'))
moves.answerPages = answer('Answer-Pages', pagesKey, readPages, function(d)
  return d.asked and { 'Prove-Step', 'Pick-Row' } or { 'Pick-Row' }
end)
moves.answerStages = answer('Answer-Stages', stagesKey, readStages, always('Pick-Stage'))
moves.answerOperations = answer('Answer-Operations', operationsKey, readOperations, always('Pick-Operation'))
moves.answerChunks = answer('Answer-Chunks', chunksKey, readChunks, function(d, job)
  return mayAsk(d, (operationOf(d, job))) and { 'Prove-Step', 'Ask-Pages' } or { 'Prove-Step' }
end)

-- Picks of the challenger.

local function outOfRange(name)
  refusal.raise('out-of-range', 'The tag ' .. name .. ' names nothing that can be picked.')
end

local function picked(tags, name, least, most)
  local value = check.integer(tags, name, 0, math.maxinteger)
  if value < least or value > most then outOfRange(name) end
  return value
end

local function due(input, move)
  return dispute.due(check.id(input.tags, 'Dispute'), input.from, move)
end

function moves.pickNode(input)
  local d, job, seat = due(input, 'Pick-Node')
  local nodes = found(d, levelKey(d)).nodes
  local node = picked(input.tags, 'Node', d.node, d.node + #nodes - 1)
  dispute.moved(d)
  if d.level > 0 then
    d.above = nodes[node - d.node + 1]
    local level = trees.below(d.level)
    return askLevel(d, level, node << d.level - level)
  end
  d.above = nil
  if d.tree == 'pages' then return askPages(d, node // 2) end
  askStages(d, job.promptLength - 1 + node, seat)
end

function moves.pickRow(input)
  local d, job, seat = due(input, 'Pick-Row')
  local m = manifestOf(job)
  local row = picked(input.tags, 'Row', 0, plan.PAGE - 1)
  local position = d.pages // (m.layers * m.kvHeads) * plan.PAGE + row
  local most = d.asked and d.position - 1 or fed(job, seat) - 1
  if position > most then outOfRange('Row') end
  dispute.moved(d)
  d.ceiling = d.pages // m.kvHeads % m.layers + 1
  askStages(d, position)
end

function moves.pickStage(input)
  local d = due(input, 'Pick-Stage')
  local last = #found(d, stagesKey(d)).digests - 1
  local stage = picked(input.tags, 'Stage', 0, math.min(last, d.ceiling or last))
  dispute.moved(d)
  askOperations(d, stage)
end

function moves.pickOperation(input)
  local d, job = due(input, 'Pick-Operation')
  local list = plan.operations(manifestOf(job), job.sampler, d.position, job.promptLength, d.stage)
  local operation = picked(input.tags, 'Operation', 0, #list - 1)
  if list[operation + 1].advice then
    refusal.raise('advice', 'This operation is not recomputed; pick its check.')
  end
  dispute.moved(d)
  askChunks(d, operation)
end

function moves.askPages(input)
  local d, job = due(input, 'Ask-Pages')
  local m, operation = manifestOf(job), operationOf(d, job)
  local pair = check.integer(input.tags, 'Page', 0, math.maxinteger)
  local page, layer = pair // (m.layers * m.kvHeads), pair // m.kvHeads % m.layers
  local first = operation.page or d.position // plan.PAGE
  local last = operation.page and operation.page + operation.runLength - 1 or first
  if layer ~= d.stage - 1 or page < first or page > last then
    refusal.raise('wrong-page', 'The operation does not read this pair of pages.')
  end
  dispute.moved(d)
  d.asked = true
  askPages(d, pair)
end

function moves.proveStep(input)
  local d, job, seat = due(input, 'Prove-Step')
  local operation = operationOf(d, job)
  local chunk = picked(input.tags, 'Chunk', 0, operation.chunks - 1)
  local inputs = data.leaves(data.fields(input.data), 'inputs')
  local verdict = referee.verdict({
    model = models.get(job.model),
    job = job,
    statement = seat.result,
    position = d.position,
    stage = d.stage,
    operation = d.operation,
    stages = found(d, stagesKey(d)).digests,
    operations = found(d, operationsKey(d)).digests,
    answer = found(d, chunksKey(d)),
  }, { chunk = chunk, inputs = inputs })
  d.chunk = chunk
  if verdict == 'fault' then return dispute.won(d, 'proven') end
  dispute.lost(d, 'refuted')
end

return moves
