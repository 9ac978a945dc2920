--- Models that jobs can ask for.
local amount = require('apus.codec.amount')
local payload = require('apus.intake.payload')
local json = require('json')
local layout = require('apus.machine.layout')
local ledger = require('apus.money.ledger')
local manifest = require('apus.machine.manifest')
local parameters = require('apus.state.parameters')
local publish = require('apus.aos.publish')
local refusal = require('apus.intake.refusal')
local sizes = require('apus.machine.sizes')
local state = require('apus.state.state')

local models = {}

--- Share of a lost bond that the prover gets, in millionths.
local HALF = 500000

--- Classes that nobody can recompute begin so; all others must be known as verifiable.
local UNVERIFIABLE = '^llama%.cpp'

--- @return boolean whether the contract can recompute results of this class
function models.isVerifiable(class)
  for _, verifiable in ipairs(parameters.verifiableClasses) do
    if class == verifiable then return true end
  end
  return false
end

local function view(model)
  return json.encode({
    id = model.id,
    name = model.name,
    class = model.class,
    verifiable = model.verifiable,
    basePrice = amount.text(model.basePrice),
    tokenPrice = amount.text(model.tokenPrice),
    maxContext = model.maxContext,
    lister = model.lister,
    bond = amount.text(model.bond),
    delisted = model.delisted,
  })
end

--- The manifest that a lister shows: the first leaf of the bundle that the model id is the root of.
--- @param id string model
--- @param text string Data
--- @return table manifest
function models.manifest(id, text)
  local fields = payload.fields(text)
  local leaf = payload.bytes(fields, 'manifest')
  local found = manifest.read(leaf)
  if not found then refusal.raise('bad-manifest', 'The manifest is outside what the machine allows.') end
  local proven = { leaf = leaf, path = payload.hashes(fields, 'path') }
  if not payload.stands(id, layout.of(found).leafCount, 0, sizes.BUNDLE, proven) then
    refusal.raise('bad-manifest', 'The manifest is not the first leaf of a bundle with this id.')
  end
  return found
end

--- Lists a model against a bond from the lister's account.
--- @param model table { id, name, class, basePrice, tokenPrice, maxContext, lister, manifest in verifiable classes }
function models.list(model)
  if state.models[model.id] then refusal.raise('already-listed', 'This model is listed already.') end
  model.verifiable = models.isVerifiable(model.class)
  if not model.verifiable and not model.class:match(UNVERIFIABLE) then
    refusal.raise('unknown-class', 'The class is neither verifiable here nor one of llama.cpp.')
  end
  if ledger.balance(model.lister) < parameters.listingBond then
    refusal.raise('underpaid', 'Listing takes a bond of ' .. amount.text(parameters.listingBond)
      .. ' units from the account.')
  end
  model.bond, model.jobs = amount.ZERO, {}
  ledger.move(parameters.listingBond, ledger.account(model.lister), ledger.bond(model))
  state.models[model.id] = model
  publish.entry('models', model.id, view(model))
end

--- The listed model, or a refusal `unknown-model`.
--- @param id string
function models.get(id)
  local model = state.models[id]
  if not model then refusal.raise('unknown-model', 'No model with this id is listed.') end
  return model
end

--- The model with that id that takes new jobs, or a refusal `unknown-model`.
--- @param id string
function models.listed(id)
  local model = models.get(id)
  if model.delisted then refusal.raise('unknown-model', 'The model with this id takes no more jobs.') end
  return model
end

--- Forgets a delisted model whose last job is over; its bond returns to who listed it.
local function forget(model)
  ledger.move(model.bond, ledger.bond(model), ledger.account(model.lister))
  state.models[model.id], state.rosters[model.id] = nil, nil
  publish.entry('models', model.id, '')
end

local function close(model)
  model.delisted = true
  publish.entry('models', model.id, view(model))
  if #model.jobs == 0 then forget(model) end
end

--- The lister takes the model back: no more jobs; the bond returns when the last one is over.
--- @param id string
--- @param lister string address
function models.delist(id, lister)
  local model = models.listed(id)
  if model.lister ~= lister then refusal.raise('not-yours', 'Only the wallet that listed a model can delist it.') end
  close(model)
end

--- The bundle is none of the machine's: no more jobs, the bond is lost, half of it to who proved it.
--- @param prover string address
function models.void(model, prover)
  model.void = true
  ledger.move(amount.share(model.bond, HALF), ledger.bond(model), ledger.account(prover))
  ledger.move(model.bond, ledger.bond(model), ledger.BURNING)
  close(model)
end

--- @param id string
--- @return boolean
function models.isVoid(id)
  local model = state.models[id]
  return model ~= nil and model.void == true
end

--- A job of the model opens.
function models.enter(job)
  local list = state.models[job.model].jobs
  list[#list + 1] = job.id
  job.place = #list
end

--- A job is over for good: nothing more can happen to it, nor by it.
function models.leave(job)
  local model = state.models[job.model]
  local list = model.jobs
  local last = table.remove(list)
  if last ~= job.id then
    list[job.place] = last
    state.jobs[last].place = job.place
  end
  if model.delisted and #list == 0 then forget(model) end
end

--- @return string | nil JSON as published
function models.json(id)
  local model = state.models[id]
  return model and view(model)
end

return models
