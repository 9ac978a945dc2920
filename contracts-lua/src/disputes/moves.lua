--- The moves of a dispute. Each answer of the accused is checked against what it committed to before it counts, each
--- pick of the challenger narrows the question, until one chunk is left to recompute.
local answers = require('apus.disputes.answers')
local check = require('apus.intake.check')
local payload = require('apus.intake.payload')
local dispute = require('apus.disputes.dispute')
local seatAnswers = require('apus.jobs.seat-answers')
local jobs = require('apus.jobs.jobs')
local models = require('apus.registry.models')
local referee = require('apus.referee.referee')
local refusal = require('apus.intake.refusal')
local sizes = require('apus.machine.sizes')
local state = require('apus.state.state')
local trees = require('apus.disputes.trees')

local moves = {}

local PROMPT_LEAF_BYTES = sizes.PROMPT_LEAF_TOKENS * 4

local function manifestOf(job)
  return models.get(job.model).manifest
end

-- Questions: each asks the accused, or the challenger when the accused has answered it before.

local function question(d, key, answer, picks)
  d.asked = key
  if answers.found(d, key) then return dispute.turn(d, 'challenger', picks(d)) end
  dispute.turn(d, 'accused', { answer })
end

local function always(...)
  local list = { ... }
  return function()
    return list
  end
end

local picksOfLevel, picksOfPages = always('Pick-Node'), always('Pick-Row')
local picksOfOperations, picksOfChunks = always('Pick-Operation'), always('Prove-Step')

--- Where the operations were shown with the stages, stage and operation are picked at once.
local function picksOfStages(d)
  return answers.found(d, answers.stagesKey(d)).operations and { 'Pick-Operation' } or { 'Pick-Stage' }
end

local function askLevel(d, level, node)
  d.level, d.node = level, node
  question(d, answers.levelKey(d), 'Answer-Level', picksOfLevel)
end

local function askPages(d, pair)
  d.pages = pair
  question(d, answers.pagesKey(d), 'Answer-Pages', picksOfPages)
end

local function askStages(d, position)
  d.position = position
  question(d, answers.stagesKey(d), 'Answer-Stages', picksOfStages)
end

local function askOperations(d, stage)
  d.stage = stage
  question(d, answers.operationsKey(d), 'Answer-Operations', picksOfOperations)
end

local function askChunks(d, operation)
  d.operation = operation
  answers.keepCheck(d, state.jobs[d.job])
  question(d, answers.chunksKey(d), 'Answer-Chunks', picksOfChunks)
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
    refusal.raise('no-prompt-length', 'The first dispute of a job must show the last leaf of its prompt tree.')
  end
  local proven = payload.leafIn(fields, 'prompt')
  local count = payload.count(fields.prompt, 'count', m.context)
  local length = (count - 1) * (PROMPT_LEAF_BYTES // 4) + #proven.leaf // 4
  local isLast = #proven.leaf > 0 and #proven.leaf <= PROMPT_LEAF_BYTES and #proven.leaf % 4 == 0
    and payload.stands(job.promptTokens, count, count - 1, sizes.PROMPT, proven)
  if not isLast or length > m.context then
    refusal.raise('wrong-prompt', 'The field prompt is not the last leaf of the prompt tree.')
  end
  return length
end

local TREES = { checkpoints = true, pages = true, answer = true }

--- What the challenger points at: a position, a pair of pages, or a tree of which it knows no leaves.
local function openingOf(tags, m, positions)
  local pages = sizes.over(positions, sizes.PAGE_ROWS)
  local given = 0
  for _, name in ipairs({ 'Position', 'Page', 'Tree' }) do
    if tags[name] then given = given + 1 end
  end
  if given ~= 1 then refusal.raise('bad-tag', 'Exactly one of the tags Position, Page and Tree must be given.') end
  if tags.Position then return { position = check.integer(tags, 'Position', 0, positions - 1) } end
  if tags.Page then return { pages = check.integer(tags, 'Page', 0, pages * m.layers * m.kvHeads - 1) } end
  return { tree = check.choice(tags, 'Tree', TREES) }
end

function moves.open(input)
  local tags = input.tags
  local job = jobs.get(check.id(tags, 'Job'))
  local fields = payload.fields(input.data)
  local seat = dispute.accuse(job, check.id(tags, 'Accused'), input.from)
  local m = manifestOf(job)
  local length = promptLength(job, m, fields)
  local opening = openingOf(tags, m, length + seat.result.count - 1)
  opening.id, opening.job, opening.accused, opening.challenger = input.id, job.id, seat.miner, input.from
  dispute.open(opening, job, seat, length)
end

-- Answers of the accused: `read` gives the record that is kept, or refuses; `picks` what the challenger may do then;
-- `about` is what the answer itself must name.

--- A name that is signed with the answer makes it an answer to this question only, whoever is shown it.
local function mustName(about, tags, d)
  for _, name in ipairs(about) do
    if tags[name] ~= tostring(d[name:lower()]) then
      refusal.raise('wrong-question', 'The tag ' .. name .. ' does not name what the dispute asks for.')
    end
  end
end

local NOTHING, PLACE, STAGE = {}, { 'Job', 'Position' }, { 'Job', 'Position', 'Stage' }

local function answer(move, about, keyOf, read, picks)
  return function(input)
    local d, job, seat = dispute.due(check.id(input.tags, 'Dispute'), input.from, move)
    mustName(about, input.tags, d)
    local record = read(d, job, seat, payload.fields(input.data))
    seatAnswers.keep(job, seat, keyOf(d), record, input.data, input.id)
    -- One question, one answer: whoever else asks it has been answered too.
    local others = dispute.asking(d)
    others[#others + 1] = d
    for _, answered in ipairs(others) do
      dispute.moved(answered)
      dispute.turn(answered, 'challenger', picks(answered))
    end
  end
end

moves.answerLevel = answer('Answer-Level', NOTHING, answers.levelKey, answers.readLevel, picksOfLevel)
moves.answerPages = answer('Answer-Pages', NOTHING, answers.pagesKey, answers.readPages, picksOfPages)
moves.answerStages = answer('Answer-Stages', PLACE, answers.stagesKey, answers.readStages, picksOfStages)
moves.answerOperations =
  answer('Answer-Operations', STAGE, answers.operationsKey, answers.readOperations, picksOfOperations)
moves.answerChunks = answer('Answer-Chunks', NOTHING, answers.chunksKey, answers.readChunks, picksOfChunks)

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
  local nodes = answers.found(d, answers.levelKey(d)).nodes
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
  local row = picked(input.tags, 'Row', 0, sizes.PAGE_ROWS - 1)
  local position = d.pages // (m.layers * m.kvHeads) * sizes.PAGE_ROWS + row
  if position > answers.fed(job, seat) - 1 then outOfRange('Row') end
  dispute.moved(d)
  askStages(d, position)
end

local function stageOf(d, tags)
  local last = #answers.found(d, answers.stagesKey(d)).digests - 1
  return picked(tags, 'Stage', 0, last)
end

function moves.pickStage(input)
  local d = due(input, 'Pick-Stage')
  local stage = stageOf(d, input.tags)
  dispute.moved(d)
  askOperations(d, stage)
end

function moves.pickOperation(input)
  local d, job = due(input, 'Pick-Operation')
  local stage = d.stage or stageOf(d, input.tags)
  local list = answers.operationsAt(d, job, stage)
  local operation = picked(input.tags, 'Operation', 0, #list - 1)
  if list[operation + 1].advice then
    refusal.raise('advice', 'This operation is not recomputed; pick its check.')
  end
  dispute.moved(d)
  d.stage = stage
  answers.keepOperations(d)
  askChunks(d, operation)
end

function moves.proveStep(input)
  local d, job, seat = due(input, 'Prove-Step')
  local operation = answers.operationOf(d, job)
  local chunk = picked(input.tags, 'Chunk', 0, operation.chunks - 1)
  local inputs = payload.leaves(payload.fields(input.data), 'inputs')
  local verdict = referee.verdict({
    model = models.get(job.model),
    job = job,
    statement = seat.result,
    tokens = job.tokens[seat.result.tokenDigest],
    position = d.position,
    stage = d.stage,
    operation = d.operation,
    stages = answers.found(d, answers.stagesKey(d)).digests,
    operations = answers.found(d, answers.operationsKey(d)).digests,
    answer = answers.found(d, answers.chunksKey(d)),
  }, { chunk = chunk, inputs = inputs })
  d.chunk = chunk
  if verdict == 'fault' then return dispute.won(d, 'proven', input.id) end
  dispute.lost(d, 'refuted')
end

return moves
