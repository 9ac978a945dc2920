--- The inputs of a step. A step asks for them one after the other; each answer is taken from the proof only after it
--- was shown to be what the plan names: neighbouring leaves, at their place, under a digest that the accused gave, one
--- of its roots, the prompt or the bundle.
local bundleLeaf = require('apus.machine.bundle-leaf')
local encoding = require('apus.codec.encoding')
local layout = require('apus.machine.layout')
local merkle = require('apus.codec.merkle')
local plan = require('apus.machine.plan')
local refusal = require('apus.intake.refusal')
local sizes = require('apus.machine.sizes')
local tree = require('apus.codec.merkle-proof')

local inputs = {}
local Reader = {}
Reader.__index = Reader

local PROMPT_TOKENS, TOKEN_BYTES = sizes.PROMPT_LEAF_TOKENS, 4

--- Raised when the accused's own commitment holds what no run of the machine holds.
inputs.FAULT = {}

local function fault()
  error(inputs.FAULT, 0)
end

--- @param step table (see referee.lua)
--- @param operations table[] of the step's stage
--- @param given table[] { leaf, path }
--- @return table reader
function inputs.reader(step, operations, given)
  local m = step.model.manifest
  return setmetatable({
    step = step, manifest = m, layout = layout.of(m), operations = operations, given = given, used = 0,
  }, Reader)
end

--- The plan's operation of this name.
function Reader:operation(name)
  return self.operations[self.operations.index[name]]
end

--- The next input of the proof.
function Reader:take(name)
  self.used = self.used + 1
  local input = self.given[self.used]
  if not input then refusal.raise('wrong-inputs', 'The step also needs ' .. name .. '.') end
  return input
end

--- Refuses inputs that no step asked for.
function Reader:finish()
  if self.used ~= #self.given then refusal.raise('wrong-inputs', 'The proof has more inputs than the step needs.') end
end

--- An input cut into leaves. A single leaf is taken with the length that it has.
local function cut(bytes, first, count, bytesOf)
  if count == 1 then return { bytes } end
  local leaves, at = {}, 1
  for i = 1, count do
    local size = bytesOf(first + i - 1)
    leaves[i], at = bytes:sub(at, at + size - 1), at + size
  end
  if at ~= #bytes + 1 then return nil end
  return leaves
end

local function hashes(domain, leaves)
  local out = {}
  for i, leaf in ipairs(leaves) do
    out[i] = merkle.leaf(domain, leaf)
  end
  return out
end

--- The next input, as leaves first..first + leaves - 1 of a tree.
--- @param of table { root = 32 bytes, domain, count, bytesOf }
--- @return string[] leaves
function Reader:next(name, of, first, leaves)
  local input = self:take(name)
  local found = cut(input.leaf, first, leaves, of.bytesOf)
  if not found or tree.root(of.count, first, hashes(of.domain, found), input.path) ~= of.root then
    refusal.raise('wrong-path', 'Input ' .. self.used .. ' is not proven to be ' .. name .. '.')
  end
  return found
end

--- Neighbouring leaves of an operation of the stage, or of the residual that the previous stage left.
--- @param name string of an operation or plan.PREVIOUS
--- @return string[]
function Reader:value(name, first, count)
  local operation, root = plan.residual(self.manifest), self.step.stages[self.step.stage]
  if name ~= plan.PREVIOUS then
    operation, root = self:operation(name), self.step.operations[self.operations.index[name]]
  end
  local of = { root = root, domain = sizes.VALUE, count = operation.leaves, bytesOf = operation.bytesOf }
  local leaves = self:next('the value of ' .. name, of, first, count)
  if #leaves[1] ~= operation.bytesOf(first) then fault() end
  return leaves
end

--- All leaves of a run of an operation, put together.
--- @return string
function Reader:run(name, run)
  local operation, input = self:operation(name), self:take('a run of ' .. name)
  local leaves = cut(input.leaf, run * operation.runLength, operation.runLength, operation.bytesOf)
  local root = leaves and tree.root(operation.runLength, 0, hashes(sizes.VALUE, leaves), {})
  local digest = self.step.operations[self.operations.index[name]]
  if not root or tree.root(operation.runs, run, { merkle.leaf(sizes.RUN, root) }, input.path) ~= digest then
    refusal.raise('wrong-path', 'Input ' .. self.used .. ' is not proven to be that run of ' .. name .. '.')
  end
  if #input.leaf ~= operation.runLength * operation.bytesOf(0) then fault() end
  return input.leaf
end

--- A leaf of the bundle.
--- @return string
function Reader:bundle(leaf)
  local root = encoding.fromBase64Url(self.step.job.model)
  local of = { root = root, domain = sizes.BUNDLE, count = self.layout.leafCount }
  local found = self:next('leaf ' .. leaf .. ' of the bundle', of, leaf, 1)[1]
  if not bundleLeaf.isLegal(self.manifest, leaf, found) then
    refusal.raise('bad-bundle', 'Leaf ' .. leaf .. ' of the bundle is outside what the machine allows.')
  end
  return found
end

--- A page of keys (kind 0) or values (kind 1) of one head.
--- @return string
function Reader:page(page, layer, head, kind)
  local m, step = self.manifest, self.step
  local count = plan.pageLeaves(m, step.job.promptLength + step.statement.count - 1)
  local of = { root = encoding.fromBase64Url(step.statement.kvRoot), domain = sizes.PAGE, count = count }
  local found = self:next('page ' .. page .. ' of that head', of, plan.pageLeaf(m, page, layer, head, kind), 1)[1]
  if #found ~= sizes.PAGE_ROWS * (1 + 2 * m.headSize) then fault() end
  return found
end

local function promptTokens(self, from, to)
  local job, out = self.step.job, {}
  local first, last = from // PROMPT_TOKENS, to // PROMPT_TOKENS
  local function bytesOf(leaf)
    return math.min(PROMPT_TOKENS, job.promptLength - leaf * PROMPT_TOKENS) * TOKEN_BYTES
  end
  local count = sizes.over(job.promptLength, PROMPT_TOKENS)
  local root = encoding.fromBase64Url(job.promptTokens)
  local of = { root = root, domain = sizes.PROMPT, count = count, bytesOf = bytesOf }
  local leaves = self:next('the prompt', of, first, last - first + 1)
  if #leaves[1] ~= bytesOf(first) then refusal.raise('bad-prompt', 'A leaf of the prompt has the wrong length.') end
  local text = table.concat(leaves)
  for position = from, to do
    local token = string.unpack('<I4', text, (position - first * PROMPT_TOKENS) * TOKEN_BYTES + 1)
    if token >= self.manifest.vocab then refusal.raise('bad-prompt', 'The prompt has an unknown token.') end
    out[#out + 1] = token
  end
  return out
end

--- Tokens of the sequence: those of the prompt are one input, those that the accused chose it has revealed.
--- @param from integer position
--- @param to integer position
--- @return integer[]
function Reader:tokens(from, to)
  local promptLength = self.step.job.promptLength
  local out = from < promptLength and promptTokens(self, from, math.min(to, promptLength - 1)) or {}
  for position = math.max(from, promptLength), to do
    out[#out + 1] = (string.unpack('<I4', self.step.tokens, (position - promptLength) * TOKEN_BYTES + 1))
  end
  return out
end

--- Pieces of chosen tokens, an input each.
--- @param from integer 0-based number of the first
--- @param to integer
--- @return string[]
function Reader:pieces(from, to)
  local statement, out = self.step.statement, {}
  local of = { root = encoding.fromBase64Url(statement.answerRoot), domain = sizes.PIECE, count = statement.count }
  for n = from, to do
    local piece = self:next('piece ' .. n, of, n, 1)[1]
    if #piece > sizes.MAX_PIECE_BYTES then fault() end
    out[#out + 1] = piece
  end
  return out
end

--- @return string hash of a value's leaf
function inputs.valueHash(leaf)
  return merkle.leaf(sizes.VALUE, leaf)
end

return inputs
