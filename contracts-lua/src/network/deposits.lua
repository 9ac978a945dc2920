--- Notices of the token: money that arrived, and transfers of ours that it executed or refused.
local amount = require('apus.codec.amount')
local check = require('apus.intake.check')
local dedupe = require('apus.aos.dedupe')
local jobs = require('apus.jobs.jobs')
local ledger = require('apus.money.ledger')
local miners = require('apus.registry.miners')
local outbox = require('apus.aos.outbox')
local refusal = require('apus.intake.refusal')
local request = require('apus.jobs.request')

local deposits = {}

local purposes = {}

purposes.Deposit = function(sender, quantity)
  ledger.receive(quantity, ledger.account(sender))
  outbox.add(sender, {
    { 'Action', 'Deposited' },
    { 'Quantity', amount.text(quantity) },
    { 'Balance', amount.text(ledger.balance(sender)) },
  })
end

purposes.Stake = function(sender, quantity)
  miners.stake(sender, quantity)
end

purposes['Submit-Job'] = function(sender, quantity, input)
  local job, price = request.read(request.forwarded(input.tags), input.data)
  if quantity < price then
    refusal.raise('underpaid', 'The job costs up to ' .. amount.text(price) .. ' units.')
  end
  jobs.open(job, input.id, sender, 'token', function(escrow) ledger.receive(quantity, escrow) end)
end

local function credit(input)
  local sender, quantity = input.tags.Sender, check.quantity(input.tags, 'Quantity')
  local purpose = purposes[input.tags['X-Action']]
  local refused = refusal.catch(function()
    if not check.isId(sender) then refusal.raise('bad-sender', 'The sender is not an AO address.') end
    if not purpose then refusal.raise('unknown-action', 'X-Action is not one of Deposit, Stake and Submit-Job.') end
    purpose(sender, quantity, input)
  end)
  if not refused then return end
  ledger.receive(quantity, ledger.account(sender))
  ledger.send(quantity, ledger.account(sender), { purpose = 'refund', recipient = sender, owner = sender }, {
    { 'X-Action', 'Refund' },
    { 'X-Code', refused.code },
    { 'X-Error', refused.sentence },
    { 'X-Reference', input.tags['X-Reference'] },
    { 'X-Message-Id', input.id },
  })
end

local function executed(input)
  local order = ledger.pending(input.tags['X-Transfer'])
  ledger.executed(order)
  if order.purpose ~= 'withdrawal' then return end
  outbox.add(order.owner, {
    { 'Action', 'Withdrawn' }, { 'Quantity', input.tags.Quantity }, { 'Recipient', order.recipient },
  })
end

local function restored(input)
  ledger.restored(ledger.pending(input.tags['X-Transfer']))
end

local notices = {
  ['Credit-Notice'] = credit,
  ['Debit-Notice'] = executed,
  ['Burn-Notice'] = executed,
  ['Transfer-Error'] = restored,
  ['Burn-Error'] = restored,
}

--- Takes a notice of the token once; whatever it says, it is never answered with an error.
--- @param input table
function deposits.take(input)
  local notice = notices[input.tags.Action]
  if not notice or dedupe.seen(input.id) then return end
  dedupe.mark(input.id)
  local reference = input.tags.Reference or ''
  local number = #reference <= 15 and reference:match('^%d+$') and math.tointeger(tonumber(reference))
  if number and not dedupe.first(number) then return end
  refusal.catch(notice, input)
end

return deposits
