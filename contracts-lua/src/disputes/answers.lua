--- What an accused may answer: each answer is checked against what it committed to and what it said before, and becomes
--- the record that is kept.
local payload = require('apus.intake.payload')
local dispute = require('apus.disputes.dispute')
local encoding = require('apus.codec.encoding')
local seatAnswers = require('apus.jobs.seat-answers')
local json = require('json')
local merkle = require('apus.codec.merkle')
local models = require('apus.registry.models')
local plan = require('apus.machine.plan')
local refusal = require('apus.intake.refusal')
local sizes = require('apus.machine.sizes')
local state = require('apus.state.state')
local trees = require('apus.disputes.trees')

local answers = {}

--- Operations of a position that one answer shows with its stages; beyond that they are asked for stage by stage.
local MAX_OPERATIONS = 1024

local function manifestOf(job)
  return models.get(job.model).manifest
end

--- Positions that the accused's run fed: the last chosen token is never fed.
function answers.fed(job, seat)
  return job.promptLength + seat.result.count - 1
end

-- Where an answer is kept.

function answers.levelKey(d)
  return 'level.' .. d.tree .. '.' .. d.level .. '.' .. d.node
end

function answers.pagesKey(d)
  return 'pages.' .. d.pages
end

function answers.stagesKey(d)
  return 'stages.' .. d.position
end

function answers.operationsKey(d)
  return 'operations.' .. d.position .. '.' .. d.stage
end

function answers.chunksKey(d)
  return 'chunks.' .. d.position .. '.' .. d.stage .. '.' .. d.operation
end

--- What the accused of a dispute has answered there, or nil.
function answers.found(d, key)
  local job = state.jobs[d.job]
  return seatAnswers.find(job, dispute.seat(job, d.accused), key)
end

--- The operations of a stage of the disputed position.
function answers.operationsAt(d, job, stage)
  return plan.operations(manifestOf(job), job.sampler, d.position, job.promptLength, stage)
end

--- The operations of the stage that is picked.
function answers.operationsOf(d, job)
  return answers.operationsAt(d, job, d.stage)
end

--- The operation that is picked.
function answers.operationOf(d, job)
  return answers.operationsOf(d, job)[d.operation + 1]
end

function answers.readLevel(d, job, seat, fields)
  local m = manifestOf(job)
  local nodes = payload.hashes(fields, 'nodes')
  local count = trees.count(d.tree, job, seat, m)
  local expected = trees.shown(count, d.level, d.node)
  if #nodes ~= expected then refusal.raise('wrong-nodes', 'There must be ' .. expected .. ' nodes.') end
  local top = merkle.top(nodes)
  local above = d.above
  if above then
    if top ~= above then refusal.raise('wrong-nodes', 'The nodes do not hash to the picked node.') end
  elseif encoding.toBase64Url(merkle.seal(count, top)) ~= trees.root(d.tree, seat) then
    refusal.raise('wrong-nodes', 'The nodes do not hash to the root of the tree.')
  end
  return { nodes = nodes }
end

local function pageBytes(m)
  return sizes.PAGE_ROWS * (1 + 2 * m.headSize)
end

--- Whether no row from `rows` on is written.
local function endsAt(page, rows, headSize)
  if rows >= sizes.PAGE_ROWS then return true end
  local exponents, values = page:sub(rows + 1, sizes.PAGE_ROWS), page:sub(sizes.PAGE_ROWS + rows * 2 * headSize + 1)
  return not exponents:find('[^%z]') and not values:find('[^%z]')
end

function answers.readPages(d, job, seat, fields)
  local m = manifestOf(job)
  local k, v, path = payload.bytes(fields, 'k'), payload.bytes(fields, 'v'), payload.hashes(fields, 'path')
  if #k ~= pageBytes(m) or #v ~= pageBytes(m) then
    refusal.raise('wrong-pages', 'A page has ' .. pageBytes(m) .. ' bytes.')
  end
  local leaf = merkle.leaf(sizes.PAGE, v)
  table.insert(path, 1, leaf)
  local leaves, proven = plan.pageLeaves(m, answers.fed(job, seat)), { leaf = k, path = path }
  if not payload.stands(seat.result.kvRoot, leaves, 2 * d.pages, sizes.PAGE, proven) then
    refusal.raise('wrong-pages', 'The path does not prove the pages under the K/V root.')
  end
  local written = answers.fed(job, seat) - d.pages // (m.layers * m.kvHeads) * sizes.PAGE_ROWS
  if not (endsAt(k, written, m.headSize) and endsAt(v, written, m.headSize)) then
    refusal.raise('wrong-pages', 'The pages have rows of positions that were never fed.')
  end
  return {}
end

--- Checks the checkpoint of a position against the accused's roots and the digests of its stages.
local function checkCheckpoint(d, job, seat, fields, digests, layersOf)
  local index, count = d.position - job.promptLength + 1, seat.result.count
  local checkpoint, piece = payload.leafIn(fields, 'checkpoint'), payload.leafIn(fields, 'piece')
  if #checkpoint.leaf ~= sizes.CHECKPOINT_BYTES
    or not payload.stands(seat.result.checkpointRoot, count, index, sizes.CHECKPOINT, checkpoint) then
    refusal.raise('wrong-checkpoint', 'The path does not prove the checkpoint under the checkpoint root.')
  end
  if not payload.stands(seat.result.answerRoot, count, index, sizes.PIECE, piece) then
    refusal.raise('wrong-checkpoint', 'The path does not prove the piece under the answer root.')
  end
  local chosen = merkle.bytes({ merkle.leaf(sizes.VALUE, checkpoint.leaf:sub(5, 9)) })
  if digests[layersOf + 1] ~= checkpoint.leaf:sub(10) or digests[layersOf + 2] ~= chosen then
    refusal.raise('wrong-stages', 'The digests of the stages do not match the checkpoint.')
  end
end

local function wrongOperations(sentence)
  refusal.raise('wrong-operations', sentence)
end

--- Advice is shown whole: what follows from it cannot be compared by one who does not know it.
local function checkAdvice(list, digests, fields)
  local shown, at = fields.advice and payload.bytes(fields, 'advice') or '', 1
  for i, operation in ipairs(list) do
    if operation.advice then
      local leaf = shown:sub(at, at + operation.bytesOf(0) - 1)
      at = at + operation.bytesOf(0)
      if merkle.bytes({ merkle.leaf(sizes.VALUE, leaf) }) ~= digests[i] then
        wrongOperations('The advice does not hash to its digest.')
      end
    end
  end
  if at ~= #shown + 1 then wrongOperations('The advice has the wrong length.') end
end

--- Checks digests of a stage's operations against the stage and the advice that is shown.
local function checkOperations(list, digests, stage, fields)
  if #digests ~= #list then wrongOperations('There must be ' .. #list .. ' digests of operations.') end
  if digests[#list] ~= stage then wrongOperations('The last operation does not have the digest of the stage.') end
  checkAdvice(list, digests, fields)
end

--- The operations of all stages of a position, or nil when they are too many for one answer.
local function allOperations(d, job, stages)
  local all, count = {}, 0
  for stage = 0, stages - 1 do
    all[stage] = answers.operationsAt(d, job, stage)
    count = count + #all[stage]
    if count > MAX_OPERATIONS then return nil end
  end
  return all
end

local NO_FIELDS = {}

--- Cuts the digests of all operations into those of each stage.
local function readAllOperations(all, stages, digests, fields)
  local shown, byStage, at = payload.hashes(fields, 'operations'), {}, 1
  for stage = 0, stages - 1 do
    local list = all[stage]
    byStage[stage] = table.move(shown, at, at + #list - 1, 1, {})
    at = at + #list
    checkOperations(list, byStage[stage], digests[stage + 1], stage == stages - 1 and fields or NO_FIELDS)
  end
  if at ~= #shown + 1 then wrongOperations('There must be ' .. at - 1 .. ' digests of operations.') end
  return byStage
end

function answers.readStages(d, job, seat, fields)
  local m = manifestOf(job)
  local digests = payload.hashes(fields, 'digests')
  local stages = plan.stages(m, job.promptLength, d.position)
  if #digests ~= stages then refusal.raise('wrong-stages', 'There must be ' .. stages .. ' digests of stages.') end
  if d.position >= job.promptLength - 1 then checkCheckpoint(d, job, seat, fields, digests, m.layers) end
  local all = allOperations(d, job, stages)
  if not all then return { digests = digests } end
  local byStage = readAllOperations(all, stages, digests, fields)
  return { digests = digests, operations = byStage, advice = fields.advice }
end

function answers.readOperations(d, job, _, fields)
  local digests = payload.hashes(fields, 'digests')
  local stage = answers.found(d, answers.stagesKey(d)).digests[d.stage + 1]
  checkOperations(answers.operationsOf(d, job), digests, stage, fields)
  return { digests = digests }
end

--- The digest of an operation from the hashes of its leaves.
local function operationDigest(operation, hashes)
  if not operation.runs then return merkle.bytes(hashes) end
  local roots = {}
  for run = 1, operation.runs do
    local first = (run - 1) * operation.runLength
    roots[run] = merkle.leaf(sizes.RUN, merkle.bytes(table.move(hashes, first + 1, first + operation.runLength, 1, {})))
  end
  return merkle.bytes(roots)
end

--- The leaves of a value that was given whole.
local function hashesOf(operation, values)
  local hashes, at = {}, 1
  for leaf = 0, operation.leaves - 1 do
    local size = operation.bytesOf(leaf)
    hashes[leaf + 1] = merkle.leaf(sizes.VALUE, values:sub(at, at + size - 1))
    at = at + size
  end
  if at ~= #values + 1 then refusal.raise('wrong-chunks', 'The values have the wrong length.') end
  return hashes
end

function answers.readChunks(d, job, _, fields)
  local operation = answers.operationOf(d, job)
  local values = operation.chunkBytes and payload.bytes(fields, 'values') or nil
  local hashes = values and hashesOf(operation, values) or payload.hashes(fields, 'leaves')
  if #hashes ~= operation.leaves then
    refusal.raise('wrong-chunks', 'There must be ' .. operation.leaves .. ' leaves.')
  end
  if operationDigest(operation, hashes) ~= answers.found(d, answers.operationsKey(d)).digests[d.operation + 1] then
    refusal.raise('wrong-chunks', 'The values or leaves do not hash to the digest of the operation.')
  end
  return { values = values, leaves = not values and hashes or nil }
end

--- An answer that follows from earlier ones need not be asked for.
local function keepFollowing(d, key, record, fields)
  local job = state.jobs[d.job]
  if answers.found(d, key) then return end
  seatAnswers.keep(job, dispute.seat(job, d.accused), key, record, json.encode(fields))
end

--- What the accused has said of the picked stage with its stages, kept as if it had been asked for it.
function answers.keepOperations(d)
  local stages = answers.found(d, answers.stagesKey(d))
  local digests = stages.operations and stages.operations[d.stage]
  if not digests then return end
  local advice = d.stage == #stages.digests - 1 and stages.advice or nil
  local fields = { digests = encoding.toBase64(table.concat(digests)), advice = advice }
  keepFollowing(d, answers.operationsKey(d), { digests = digests }, fields)
end

--- The leaves of a check that the accused says is held: no other value has this digest.
function answers.keepCheck(d, job)
  local operation = answers.operationOf(d, job)
  if not operation.check then return end
  local leaves = {}
  for i = 1, operation.leaves do
    leaves[i] = merkle.leaf(sizes.VALUE, '\1')
  end
  if merkle.bytes(leaves) ~= answers.found(d, answers.operationsKey(d)).digests[d.operation + 1] then return end
  local fields = { leaves = encoding.toBase64(table.concat(leaves)) }
  keepFollowing(d, answers.chunksKey(d), { leaves = leaves }, fields)
end

return answers
