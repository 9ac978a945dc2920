--- The referee: recomputes one chunk of one operation from inputs that are proven to be the accused's own, and says
--- whether the accused's chunk is what the machine gives. Pure: no state, no messages. REFEREE.md argues why its
--- verdict follows.
---
--- A *context* is a run: `manifest` (machine-manifest.read), `sampler`, `noise` (two u32), `stops` (strings), `maxTokens`,
--- `bundle`, `prompt` (roots), `promptLength`; of the accused's statement `count`, `checkpoints`, `pages`, `pieces`
--- (roots). Roots and digests are strings of 32 bytes.
---
--- A *claim* is a step: `position`, `stage`, `operation`, `chunk` (all 0-based), `digests` (the accused's, of every
--- operation of the stage), `previous` (the accused's, of the stage before; none for the first), `output` =
--- { leaf or hash, path, over } and `inputs` = { leaves, path }[].
local head = require('apus.referee-head')
local inputs = require('apus.referee-inputs')
local layer = require('apus.referee-layer')
local plan = require('apus.plan')
local refusal = require('apus.refusal')

local referee = {}

local DIGEST_BYTES = 32

local function inRange(value, count)
  return math.type(value) == 'integer' and value >= 0 and value < count
end

local function isDigest(value)
  return type(value) == 'string' and #value == DIGEST_BYTES
end

--- The operations of the claim's stage; refuses a claim whose place in the plan does not exist.
local function operationsOf(context, claim)
  local m = context.manifest
  if not inRange(claim.position, context.promptLength + context.count - 1) then
    refusal.raise('no-position', 'The run has no such position.')
  end
  if not inRange(claim.stage, plan.stages(m, context.promptLength, claim.position)) then
    refusal.raise('no-stage', 'The position has no such stage.')
  end
  local list = plan.operations(m, context.sampler, claim.position, context.promptLength, claim.stage)
  if #claim.digests ~= #list then
    refusal.raise('digest-count', 'The stage has ' .. #list .. ' operations.')
  end
  for i = 1, #list do
    if not isDigest(claim.digests[i]) then refusal.raise('bad-digest', 'A digest has 32 bytes.') end
  end
  if claim.stage > plan.EMBED and not isDigest(claim.previous) then
    refusal.raise('bad-digest', 'The digest of the previous stage has 32 bytes.')
  end
  if not inRange(claim.operation, #list) then refusal.raise('no-operation', 'The stage has no such operation.') end
  local operation = list[claim.operation + 1]
  if operation.advice then refusal.raise('advice', 'Nothing recomputes this operation; its check is recomputed.') end
  if not inRange(claim.chunk, operation.chunks) then refusal.raise('no-chunk', 'The operation has no such chunk.') end
  return list, operation
end

--- The bytes of the claim's chunk from its proven inputs; nil when these allow no output.
--- @param context table
--- @param claim table without `output`
--- @return string | nil
function referee.recompute(context, claim)
  local list, operation = operationsOf(context, claim)
  local read = inputs.reader(context, claim, list)
  local step = layer[operation.kind] or head[operation.kind]
  local bytes = step(read, operation, claim.chunk)
  read:finish()
  return bytes
end

--- Refuses an output that is not the accused's.
--- @return table operation
--- @return integer leaf
local function checkOutput(context, claim)
  local _, operation = operationsOf(context, claim)
  local leaf, _, bytes = plan.place(operation, claim.chunk)
  local output = claim.output
  if bytes and not output.leaf then
    refusal.raise('output-leaf', 'A chunk of this operation is less than a leaf, which must be shown whole.')
  end
  local hash = output.leaf and inputs.valueHash(output.leaf) or output.hash
  if not isDigest(hash) then refusal.raise('bad-digest', 'The hash of a leaf has 32 bytes.') end
  if not inputs.isOutput(operation, claim.digests[claim.operation + 1], leaf, hash, output.path, output.over) then
    refusal.raise('output-path', 'The output is not proven to be the accused\'s.')
  end
  return operation, leaf
end

--- Whether the accused's output is these bytes of the machine.
local function agrees(operation, claim, leaf, bytes)
  local output = claim.output
  local _, offset, size = plan.place(operation, claim.chunk)
  if not size then return inputs.valueHash(bytes) == (output.hash or inputs.valueHash(output.leaf)) end
  return #output.leaf == operation.bytesOf(leaf) and output.leaf:sub(offset + 1, offset + size) == bytes
end

--- Decides a claim: 'fault' when the accused's chunk is not what the machine gives, else 'correct'. Refuses what is not
--- proven, with a code that names the check.
--- @param context table
--- @param claim table
--- @return string verdict
function referee.verdict(context, claim)
  local operation, leaf = checkOutput(context, claim)
  local done, bytes = pcall(referee.recompute, context, claim)
  if not done and bytes == inputs.FAULT then return 'fault' end
  if not done and type(bytes) == 'string' then
    refusal.raise('out-of-domain', 'The inputs are not numbers that the machine computes with.')
  end
  if not done then error(bytes, 0) end
  return bytes and agrees(operation, claim, leaf, bytes) and 'correct' or 'fault'
end

return referee
