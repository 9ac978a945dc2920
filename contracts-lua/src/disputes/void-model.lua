--- Void-Model: a leaf under the model's id is outside the machine's domain, so nothing that names the model means
--- anything. The listing ends at once; its open jobs and disputes end one by one, 16 of them in a message.
local bundleLeaf = require('apus.machine.bundle-leaf')
local check = require('apus.intake.check')
local clock = require('apus.state.clock')
local payload = require('apus.intake.payload')
local deadlines = require('apus.state.deadlines')
local dispute = require('apus.disputes.dispute')
local layout = require('apus.machine.layout')
local models = require('apus.registry.models')
local refusal = require('apus.intake.refusal')
local rounds = require('apus.jobs.rounds')
local sizes = require('apus.machine.sizes')
local state = require('apus.state.state')

--- Jobs and disputes that one message ends.
local BATCH = 16

--- Ends one job or dispute; returns whether there was one.
local function step(model)
  local job = state.jobs[model.jobs[#model.jobs]]
  if not job then return false end
  if not job.voided then
    rounds.void(job)
  else
    dispute.endOne(job)
  end
  return true
end

local function later(model)
  if #model.jobs > 0 then deadlines.add(clock.now(), 'void', { model = model.id }) end
end

deadlines.handle('void', function(entry)
  local model = state.models[entry.model]
  if not model or not model.void or not step(model) then return false end
  later(model)
  return true
end)

local function mustStand(model, index, proven)
  if not payload.stands(model.id, layout.of(model.manifest).leafCount, index, sizes.BUNDLE, proven) then
    refusal.raise('wrong-path', 'The path does not prove the leaf under the id of the model.')
  end
end

--- Whether the leaf alone, or with that of the first segment of its rows, is none of the machine's.
local function isOutside(model, index, bytes, fields)
  local m = model.manifest
  if not bundleLeaf.isLegal(m, index, bytes) then return true end
  local at = fields.first and bundleLeaf.firstSegment(m, index)
  if not at then return false end
  local first = payload.leafIn(fields, 'first')
  mustStand(model, at, first)
  return not bundleLeaf.hasSameShifts(m, first.leaf, index, bytes)
end

return function(input)
  local model = models.get(check.id(input.tags, 'Model'))
  if not model.manifest then refusal.raise('not-verifiable', 'A model of this class has no bundle.') end
  if model.void then refusal.raise('already-void', 'The model is void.') end
  local fields = payload.fields(input.data)
  local proven = payload.leaf(fields)
  local index = check.integer(input.tags, 'Leaf', 0, layout.of(model.manifest).leafCount - 1)
  mustStand(model, index, proven)
  if not isOutside(model, index, proven.leaf, fields) then
    refusal.raise('not-proven', 'The machine allows this leaf.')
  end
  models.void(model, input.from)
  for _ = 1, BATCH do
    if not step(model) then break end
  end
  later(model)
end
