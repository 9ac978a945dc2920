--- The inputs of a step. A step asks for them one after the other; each answer is taken from the claim only after it
--- was proven to be what the plan names: neighbouring leaves, at their place, under a digest that the accused gave, one
--- of its roots, the prompt or the bundle.
local layout = require('apus.machine-layout')
local merkle = require('apus.merkle')
local plan = require('apus.plan')
local refusal = require('apus.refusal')
local tree = require('apus.machine-tree')

local inputs = {}
local Reader = {}
Reader.__index = Reader

local VALUE, RUN = 'apus.machine.1/value', 'apus.machine.1/run'
local BUNDLE, PROMPT = 'apus.machine.1/bundle', 'apus.machine.1/prompt'
local PAGE, CHECKPOINT, PIECE = 'apus.machine.1/page', 'apus.machine.1/checkpoint', 'apus/answer-piece'
local PROMPT_TOKENS = 64
local CHECKPOINT_BYTES = 41
local MAX_PIECE = 256

--- Raised when the accused's own commitment holds what no run of the machine holds.
inputs.FAULT = {}

local function fault()
  error(inputs.FAULT, 0)
end

local function hashes(domain, leaves)
  local out = {}
  for i, leaf in ipairs(leaves) do
    out[i] = merkle.leaf(domain, leaf)
  end
  return out
end

--- @param context table the run that the claim is about (see referee.lua)
--- @param claim table
--- @param operations table[] of the claim's stage
--- @return table reader
function inputs.reader(context, claim, operations)
  local of = layout.of(context.manifest)
  return setmetatable({ context = context, claim = claim, operations = operations, layout = of, used = 0 }, Reader)
end

--- The next input of the claim, which must have so many leaves and an address under `root`.
function Reader:next(name, root, domain, count, first, leaves)
  self.used = self.used + 1
  local input = self.claim.inputs[self.used]
  if not input then refusal.raise('input-missing', 'The step also needs ' .. name .. '.') end
  if #input.leaves ~= leaves then
    refusal.raise('input-count', 'Of ' .. name .. ' the step needs ' .. leaves .. ' leaves.')
  end
  if tree.root(count, first, hashes(domain, input.leaves), input.path) ~= root then
    refusal.raise('input-path', 'Input ' .. self.used .. ' is not proven to be ' .. name .. '.')
  end
  return input.leaves
end

--- Refuses inputs that no step asked for.
function Reader:finish()
  if self.used ~= #self.claim.inputs then refusal.raise('input-extra', 'The step needs fewer inputs.') end
end

--- Neighbouring leaves of an operation of the stage, or of the residual that the previous stage left.
--- @param name string of an operation or plan.PREVIOUS
--- @return string[]
function Reader:value(name, first, count)
  local operation, root = plan.residual(self.context.manifest), self.claim.previous
  if name ~= plan.PREVIOUS then
    local index = self.operations.index[name]
    operation, root = self.operations[index], self.claim.digests[index]
  end
  local leaves = self:next('the value of ' .. name, root, VALUE, operation.leaves, first, count)
  for i, leaf in ipairs(leaves) do
    if #leaf ~= operation.bytesOf(first + i - 1) then fault() end
  end
  return leaves
end

--- All leaves of a run of an operation, put together.
--- @return string
function Reader:run(name, run)
  local index = self.operations.index[name]
  local operation = self.operations[index]
  self.used = self.used + 1
  local input = self.claim.inputs[self.used]
  if not input then refusal.raise('input-missing', 'The step also needs a run of ' .. name .. '.') end
  if #input.leaves ~= operation.runLength then
    refusal.raise('input-count', 'A run of ' .. name .. ' has ' .. operation.runLength .. ' leaves.')
  end
  local root = tree.root(operation.runLength, 0, hashes(VALUE, input.leaves), {})
  if tree.root(operation.runs, run, { merkle.leaf(RUN, root) }, input.path) ~= self.claim.digests[index] then
    refusal.raise('input-path', 'Input ' .. self.used .. ' is not proven to be that run of ' .. name .. '.')
  end
  for _, leaf in ipairs(input.leaves) do
    if #leaf ~= operation.bytesOf(0) then fault() end
  end
  return table.concat(input.leaves)
end

--- A leaf of the bundle.
--- @param bytes integer its length
--- @param isLegal nil | fun(leaf: string): boolean
--- @return string
function Reader:bundle(leaf, bytes, isLegal)
  local name, count = 'leaf ' .. leaf .. ' of the bundle', self.layout.leafCount
  local found = self:next(name, self.context.bundle, BUNDLE, count, leaf, 1)[1]
  if #found ~= bytes or isLegal and not isLegal(found) then
    refusal.raise('bad-bundle', 'Leaf ' .. leaf .. ' of the bundle is outside what the machine allows.')
  end
  return found
end

--- Pages of keys and values of one head.
--- @param count integer 1, or 2 for keys and values
--- @return string[]
function Reader:pages(page, layer, head, kind, count)
  local context = self.context
  local m = context.manifest
  local leaves = plan.pageLeaves(m, context.promptLength + context.count - 1)
  local first = plan.pageLeaf(m, page, layer, head, kind)
  local found = self:next('page ' .. page .. ' of that head', context.pages, PAGE, leaves, first, count)
  for _, leaf in ipairs(found) do
    if #leaf ~= plan.PAGE * (1 + 2 * m.headSize) then fault() end
  end
  return found
end

local function promptTokens(self, from, to)
  local context, out = self.context, {}
  local count = (context.promptLength + PROMPT_TOKENS - 1) // PROMPT_TOKENS
  local first, last = from // PROMPT_TOKENS, to // PROMPT_TOKENS
  local leaves = self:next('the prompt', context.prompt, PROMPT, count, first, last - first + 1)
  for i, leaf in ipairs(leaves) do
    local tokens = math.min(PROMPT_TOKENS, context.promptLength - (first + i - 1) * PROMPT_TOKENS)
    if #leaf ~= tokens * 4 then refusal.raise('bad-prompt', 'A leaf of the prompt has another length.') end
  end
  local text = table.concat(leaves)
  for position = from, to do
    local token = string.unpack('<I4', text, (position - first * PROMPT_TOKENS) * 4 + 1)
    if token >= context.manifest.vocab then refusal.raise('bad-prompt', 'The prompt has an unknown token.') end
    out[#out + 1] = token
  end
  return out
end

local function chosenTokens(self, from, to, out)
  local context = self.context
  local leaves = self:next('the checkpoints', context.checkpoints, CHECKPOINT, context.count, from, to - from + 1)
  for i, leaf in ipairs(leaves) do
    if #leaf ~= CHECKPOINT_BYTES then fault() end
    local n, token = string.unpack('<I4I4', leaf)
    if n ~= from + i - 1 or token >= context.manifest.vocab then fault() end
    out[#out + 1] = token
  end
  return out
end

--- Tokens of the sequence: of the prompt, then those that the accused chose.
--- @param from integer position
--- @param to integer position
--- @return integer[]
function Reader:tokens(from, to)
  local promptLength = self.context.promptLength
  local out = from < promptLength and promptTokens(self, from, math.min(to, promptLength - 1)) or {}
  if to < promptLength then return out end
  return chosenTokens(self, math.max(from, promptLength) - promptLength, to - promptLength, out)
end

--- Pieces of chosen tokens.
--- @param from integer 0-based number of the first
--- @param to integer
--- @return string[]
function Reader:pieces(from, to)
  local context = self.context
  local leaves = self:next('the pieces', context.pieces, PIECE, context.count, from, to - from + 1)
  for _, leaf in ipairs(leaves) do
    if #leaf > MAX_PIECE then fault() end
  end
  return leaves
end

--- Whether an output stands where the plan has it under the digest of its operation.
--- @param hash string of the leaf
--- @return boolean
function inputs.isOutput(operation, digest, leaf, hash, path, over)
  if not operation.runs then return #over == 0 and tree.root(operation.leaves, leaf, { hash }, path) == digest end
  local run = tree.root(operation.runLength, leaf % operation.runLength, { hash }, path)
  if not run then return false end
  return tree.root(operation.runs, leaf // operation.runLength, { merkle.leaf(RUN, run) }, over) == digest
end

--- @return string hash of a value's leaf
function inputs.valueHash(leaf)
  return merkle.leaf(VALUE, leaf)
end

return inputs
