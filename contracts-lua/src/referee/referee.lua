--- The referee: recomputes one chunk of one operation from inputs that are proven to be the accused's own, and says
--- whether the accused's chunk is what the machine gives. Pure: no state, no messages. REFEREE.md argues why its
--- verdict follows.
---
--- A *step* is where two parties differ: `model` { manifest }, `job` { id, model = root of the bundle, sampler, stop,
--- maxTokens, promptTokens = root of the prompt, promptLength }; `position`, `stage`, `operation` (0-based); and of the
--- accused its `statement` { count, kvRoot, answerRoot }, `tokens` (u32 little-endian), the digests of all `stages` of
--- the position and all `operations` of the stage, and its `answer`: the value of the operation. Roots are base64url,
--- digests 32 bytes.
---
--- A *proof* has `chunk` (0-based) and `inputs` = { leaf, path }[], as many and in the order as the step asks for them.
--- Neighbouring leaves are one input: `leaf` their bytes, `path` what each level lacks from the leaves upwards.
local head = require('apus.referee.head')
local inputs = require('apus.referee.inputs')
local layer = require('apus.referee.layer')
local plan = require('apus.machine.plan')
local refusal = require('apus.intake.refusal')

local referee = {}

local function inRange(name, value, count)
  if math.type(value) == 'integer' and value >= 0 and value < count then return end
  refusal.raise('out-of-range', 'There is no such ' .. name .. '.')
end

--- The operations of the step's stage and the one in question; refuses a place that the plan does not have.
local function placeOf(step, chunk)
  local m, job = step.model.manifest, step.job
  inRange('position', step.position, job.promptLength + step.statement.count - 1)
  inRange('stage', step.stage, plan.stages(m, job.promptLength, step.position))
  local list = plan.operations(m, job.sampler, step.position, job.promptLength, step.stage)
  inRange('operation', step.operation, #list)
  local operation = list[step.operation + 1]
  if operation.advice then refusal.raise('advice', 'This operation is not recomputed; prove its check.') end
  inRange('chunk', chunk, operation.chunks)
  return list, operation
end

local function recompute(step, proof, list, operation)
  local read = inputs.reader(step, list, proof.inputs)
  local compute = layer[operation.kind] or head[operation.kind]
  local bytes = compute(read, operation, proof.chunk)
  read:finish()
  return bytes
end

--- The bytes of a chunk from its proven inputs; nil when these allow no output.
--- @param step table; `answer` is not needed
--- @param proof table
--- @return string | nil
function referee.recompute(step, proof)
  return recompute(step, proof, placeOf(step, proof.chunk))
end

--- Whether the accused's chunk is these bytes.
local function agrees(operation, answer, chunk, bytes)
  local size = operation.chunkBytes
  if not size then return answer.leaves[chunk + 1] == inputs.valueHash(bytes) end
  return answer.values:sub(chunk * size + 1, (chunk + 1) * size) == bytes
end

--- Decides a step: 'fault' when the accused's chunk is not what the machine gives, else 'correct'. Refuses what is not
--- proven, with a code that names the check.
--- @param step table of which the caller has checked that the digests are the accused's and the answer gives its digest
--- @param proof table
--- @return string verdict
function referee.verdict(step, proof)
  local list, operation = placeOf(step, proof.chunk)
  local done, bytes = pcall(recompute, step, proof, list, operation)
  if done then return bytes and agrees(operation, step.answer, proof.chunk, bytes) and 'correct' or 'fault' end
  if bytes == inputs.FAULT then return 'fault' end
  if type(bytes) ~= 'string' then error(bytes, 0) end
  refusal.raise('out-of-domain', 'The inputs are not numbers that the machine computes with.')
end

return referee
