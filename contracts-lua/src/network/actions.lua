--- The direct actions: each reads and checks its tags, then calls one function.
local amount = require('apus.codec.amount')
local check = require('apus.intake.check')
local clock = require('apus.state.clock')
local config = require('apus.config')
local deadlines = require('apus.state.deadlines')
local disputes = require('apus.disputes.actions')
local host = require('apus.aos.host')
local jobs = require('apus.jobs.jobs')
local json = require('json')
local ledger = require('apus.money.ledger')
local miners = require('apus.registry.miners')
local models = require('apus.registry.models')
local outbox = require('apus.aos.outbox')
local parameters = require('apus.state.parameters')
local refusal = require('apus.intake.refusal')
local request = require('apus.jobs.request')
local rounds = require('apus.jobs.rounds')
local state = require('apus.state.state')
local voidModel = require('apus.disputes.void-model')

--- Actions that change state; a repetition of one of them changes nothing.
local actions = {}
--- Actions that only answer, or only make overdue moves.
local questions = {}

local MAX_NAME = 128
local MAX_CLASS = 64
local MAX_CONTEXT = 1 << 20

actions.Register = function(input)
  if input.from ~= input.owner then refusal.raise('wallet-only', 'Only a wallet can be a miner.') end
  local peer = check.text(input.tags, 'Peer-Id', 64)
  if not peer:match('^[1-9A-HJ-NP-Za-km-z]+$') or #peer < 46 then
    refusal.raise('bad-tag', 'The tag Peer-Id must be a peer id in base58.')
  end
  local signature = check.text(input.tags, 'Node-Signature', 86)
  if #signature ~= 86 or signature:find('[^%w_-]') then
    refusal.raise('bad-tag', 'The tag Node-Signature must be 64 bytes in base64url.')
  end
  local expires = check.integer(input.tags, 'Expires', 1, 999999999999999)
  miners.register(input.from, peer, signature, expires)
  outbox.add(input.from, { { 'Action', 'Registered' }, { 'Peer-Id', peer }, { 'Expires', input.tags.Expires } })
end

actions.Unregister = function(input)
  miners.unregister(miners.registered(input.from))
end

actions.Serve = function(input)
  local miner = miners.registered(input.from)
  local list, seen = check.list(check.json(input.data)), {}
  if not list or #list > parameters.maxServed then
    refusal.raise('bad-data', 'The data must be a JSON array of at most ' .. parameters.maxServed .. ' model ids.')
  end
  for _, model in ipairs(list) do
    if not check.isId(model) or seen[model] then
      refusal.raise('bad-data', 'The data must be a JSON array of different model ids.')
    end
    seen[model] = true
    models.get(model)
  end
  miners.serve(miner, list)
end

actions.Pause = function(input)
  miners.pause(miners.registered(input.from), true)
end

actions.Resume = function(input)
  miners.pause(miners.registered(input.from), false)
end

actions.Unstake = function(input)
  local quantity = check.quantity(input.tags, 'Quantity')
  local miner = miners.find(input.from)
  if not miner then refusal.raise('stake-locked', 'This wallet has no stake.') end
  miners.unstake(miner, quantity)
end

actions.Withdraw = function(input)
  local quantity = check.quantity(input.tags, 'Quantity')
  local recipient = check.optionalId(input.tags, 'Recipient') or input.from
  if recipient == state.network then refusal.raise('bad-tag', 'The network cannot be the recipient.') end
  if ledger.balance(input.from) < quantity then
    refusal.raise('underpaid', 'The account holds ' .. amount.text(ledger.balance(input.from)) .. ' units.')
  end
  ledger.send(quantity, ledger.account(input.from),
    { purpose = 'withdrawal', recipient = recipient, owner = input.from }, { { 'X-Action', 'Withdrawal' } })
end

actions['List-Model'] = function(input)
  local tags = input.tags
  if not check.json(input.data) or #input.data > parameters.maxHeader then
    refusal.raise('bad-data', 'The data must be a JSON object of at most ' .. parameters.maxHeader .. ' bytes.')
  end
  local model = {
    id = check.id(tags, 'Model'),
    class = check.text(tags, 'Class', MAX_CLASS),
    name = check.text(tags, 'Name', MAX_NAME),
    basePrice = check.price(tags, 'Base-Price'),
    tokenPrice = check.price(tags, 'Token-Price'),
    maxContext = check.integer(tags, 'Max-Context', 1, MAX_CONTEXT),
    lister = input.from,
  }
  if models.isVerifiable(model.class) then
    model.manifest = models.manifest(model.id, input.data)
    if model.maxContext > model.manifest.context then
      refusal.raise('bad-tag', 'The tag Max-Context must be at most the context of the manifest.')
    end
  end
  models.list(model)
  outbox.add(input.from, { { 'Action', 'Model-Listed' }, { 'Model', model.id } })
end

actions['Delist-Model'] = function(input)
  models.delist(check.id(input.tags, 'Model'), input.from)
end

actions['Void-Model'] = voidModel

actions['Submit-Job'] = function(input)
  local job, price = request.read(request.direct(input.tags), input.data)
  local account = ledger.account(input.from)
  if ledger.balance(input.from) < price then
    refusal.raise('underpaid', 'The job costs up to ' .. amount.text(price) .. ' units, the account holds '
      .. amount.text(ledger.balance(input.from)) .. '.')
  end
  jobs.open(job, input.id, input.from, 'account', function(escrow) ledger.move(price, account, escrow) end)
end

actions['Cancel-Job'] = function(input)
  local job = jobs.get(check.id(input.tags, 'Job'))
  if job.requester ~= input.from then refusal.raise('not-yours', 'Only the requester can cancel a job.') end
  rounds.cancel(job)
end

actions.Commit = function(input)
  local job = jobs.get(check.id(input.tags, 'Job'))
  local commitment = check.id(input.tags, 'Output-Commitment')
  rounds.commit(job, input.from, commitment, check.optionalId(input.tags, 'Prompt-Tokens'), input.id)
end

actions.Retract = function(input)
  rounds.retract(jobs.get(check.id(input.tags, 'Job')), input.from)
end

actions.Reveal = function(input)
  local job = jobs.get(check.id(input.tags, 'Job'))
  rounds.reveal(job, input.from, check.id(input.tags, 'Salt'), input.tags, input.data, input.id)
end

for name, action in pairs(disputes) do
  actions[name] = action
end

questions.Tick = function(input)
  deadlines.run(clock.now(), check.integer(input.tags, 'Limit', 0, 16, 0))
end

local function answer(input, name, found, sentence, tags)
  if not found then refusal.raise('not-found', sentence) end
  local list = {
    { 'Action', name .. '-Response' },
    { 'X-Reference', input.tags['X-Reference'] or input.tags.Reference },
  }
  table.move(tags or {}, 1, #(tags or {}), #list + 1, list)
  outbox.add(input.from, list, found)
end

questions.Info = function(input)
  local trust = host.trust()
  answer(input, 'Info', json.encode({
    name = 'APUS network',
    network = state.network,
    token = config.token,
    owner = trust.owner,
    scheduler = trust.scheduler,
    authority = trust.authority,
    codeHash = config.codeHash,
    parameters = parameters.published,
  }), nil, { { 'Owner-Text', trust.owner }, { 'Code-Hash', config.codeHash } })
end

questions.Job = function(input)
  answer(input, 'Job', jobs.json(check.id(input.tags, 'Job')), 'There is no job with this id.')
end

questions.Miner = function(input)
  answer(input, 'Miner', miners.json(input.tags.Address or input.from), 'There is no miner with this address.')
end

questions.Model = function(input)
  answer(input, 'Model', models.json(check.id(input.tags, 'Model')), 'No model with this id is listed.')
end

questions.Account = function(input)
  answer(input, 'Account', amount.text(ledger.balance(input.tags.Address or input.from)))
end

return { changing = actions, asking = questions }
