--- The AO token standard over one table of balances.
local amount = require('apus.codec.amount')
local check = require('apus.intake.check')
local config = require('apus.config')
local dedupe = require('apus.aos.dedupe')
local host = require('apus.aos.host')
local json = require('json')
local outbox = require('apus.aos.outbox')
local publish = require('apus.aos.publish')
local refusal = require('apus.intake.refusal')

local token = {}

local NAME, TICKER, LOGO, DENOMINATION = 'APUS', 'APUS', config.logo or '', '12'
--- Every token that will ever be: 10^9 APUS.
local SUPPLY = amount.parse('1000000000000000000000')
--- Transfers in one batch: each sends a notice, and one evaluation must stay small.
local MAX_BATCH = 256
--- Balances in one answer.
local MAX_PAGE = 1000
--- Forwarded tags of one transfer and bytes of each: enough for a job's settings, too little to burden the recipient.
local MAX_FORWARDED = 32
local MAX_FORWARDED_BYTES = 8192

local balances = {}
local supply = amount.ZERO
--- Holders in order, while nobody joined or left since.
local holders

local function balanceOf(address)
  return balances[address] or amount.ZERO
end

local function set(address, quantity)
  local before = balances[address]
  if quantity == amount.ZERO then quantity = nil end
  if (before == nil) ~= (quantity == nil) then holders = nil end
  balances[address] = quantity
  publish.entry('balances', address, quantity and amount.text(quantity) or '0')
end

--- An Arweave address or process id, or an Ethereum address.
local function isAddress(text)
  return check.isId(text) or type(text) == 'string' and text:match('^0x%x+$') ~= nil and #text == 42
end

local function describe()
  publish.value('token-info', json.encode({
    name = NAME, ticker = TICKER, logo = LOGO, denomination = DENOMINATION, supply = amount.text(supply),
  }))
end

--- Tags of the message that travel with its notices.
local function forwarded(tags)
  local names, list = {}, {}
  for name, value in pairs(tags) do
    if name:sub(1, 2) == 'X-' then
      if #value > MAX_FORWARDED_BYTES then refusal.raise('bad-tag', 'A forwarded tag is too long.') end
      names[#names + 1] = name
    end
  end
  if #names > MAX_FORWARDED then refusal.raise('bad-tag', 'There are too many forwarded tags.') end
  table.sort(names)
  for i, name in ipairs(names) do
    list[i] = { name, tags[name] }
  end
  return list
end

local function notice(target, action, tags, extra, data)
  local list = { { 'Action', action } }
  table.move(tags, 1, #tags, 2, list)
  table.move(extra, 1, #extra, #list + 1, list)
  outbox.add(target, list, data)
end

local function transfer(sender, recipient, quantity)
  set(sender, balanceOf(sender) - quantity)
  set(recipient, balanceOf(recipient) + quantity)
end

local function demand(sender, quantity)
  if balanceOf(sender) < quantity then
    refusal.raise('insufficient-balance', 'The balance is ' .. amount.text(balanceOf(sender)) .. ' units.')
  end
end

local changing, asking = {}, {}

changing.Transfer = function(input)
  local recipient, tags = input.tags.Recipient, input.tags
  if not isAddress(recipient) then refusal.raise('bad-tag', 'The tag Recipient must be an address.') end
  local quantity = check.quantity(tags, 'Quantity')
  local extra = forwarded(tags)
  demand(input.from, quantity)
  transfer(input.from, recipient, quantity)
  if tags.Cast then return end
  local units = amount.text(quantity)
  notice(input.from, 'Debit-Notice', { { 'Recipient', recipient }, { 'Quantity', units } }, extra)
  notice(recipient, 'Credit-Notice', { { 'Sender', input.from }, { 'Quantity', units } }, extra, input.data)
end

changing['Batch-Transfer'] = function(input)
  local extra, list, total = forwarded(input.tags), {}, amount.ZERO
  for line in input.data:gmatch('[^\r\n]+') do
    local recipient, text = line:match('^%s*([^,%s]+)%s*,%s*(%d+)%s*$')
    local quantity = amount.parse(text)
    if not isAddress(recipient) or not quantity or quantity == amount.ZERO then
      refusal.raise('bad-data', 'Each line must be recipient,quantity.')
    end
    list[#list + 1] = { recipient = recipient, quantity = quantity }
    total = total + quantity
    if #list > MAX_BATCH then refusal.raise('bad-data', 'A batch has at most ' .. MAX_BATCH .. ' transfers.') end
  end
  if #list == 0 then refusal.raise('bad-data', 'The batch is empty.') end
  demand(input.from, total)
  for _, entry in ipairs(list) do
    transfer(input.from, entry.recipient, entry.quantity)
  end
  if input.tags.Cast then return end
  notice(input.from, 'Batch-Debit-Notice',
    { { 'Count', tostring(#list) }, { 'Total', amount.text(total) } }, extra)
  for _, entry in ipairs(list) do
    local tags = { { 'Sender', input.from }, { 'Quantity', amount.text(entry.quantity) } }
    notice(entry.recipient, 'Credit-Notice', tags, extra)
  end
end

changing.Burn = function(input)
  local quantity = check.quantity(input.tags, 'Quantity')
  local extra = forwarded(input.tags)
  demand(input.from, quantity)
  set(input.from, balanceOf(input.from) - quantity)
  supply = supply - quantity
  describe()
  notice(input.from, 'Burn-Notice',
    { { 'Quantity', amount.text(quantity) }, { 'Supply', amount.text(supply) } }, extra)
end

local function answer(input, tags, data)
  tags[#tags + 1] = { 'X-Reference', input.tags['X-Reference'] or input.tags.Reference }
  outbox.add(input.from, tags, data)
end

asking.Info = function(input)
  local trust = host.trust()
  answer(input, {
    { 'Action', 'Info-Response' },
    { 'Name', NAME },
    { 'Ticker', TICKER },
    { 'Logo', LOGO },
    { 'Denomination', DENOMINATION },
    { 'Supply', amount.text(supply) },
    { 'Owner-Text', trust.owner },
    { 'Scheduler', trust.scheduler },
    { 'Authority', trust.authority },
    { 'Code-Hash', config.codeHash },
  })
end

asking.Balance = function(input)
  local account = input.tags.Recipient or input.tags.Account or input.from
  local units = amount.text(balanceOf(account))
  answer(input, {
    { 'Action', 'Balance-Response' },
    { 'Balance', units },
    { 'Ticker', TICKER },
    { 'Account', account },
  }, units)
end

asking.Balances = function(input)
  local limit = check.integer(input.tags, 'Limit', 1, MAX_PAGE, MAX_PAGE)
  local cursor = input.tags.Cursor or ''
  if not holders then
    holders = {}
    for address in pairs(balances) do
      holders[#holders + 1] = address
    end
    table.sort(holders)
  end
  local page, last, count = {}, nil, 0
  for _, address in ipairs(holders) do
    if address > cursor then
      if count == limit then break end
      page[address], last, count = amount.text(balances[address]), address, count + 1
    end
  end
  local more = last and last ~= holders[#holders] and last or nil
  answer(input, { { 'Action', 'Balances-Response' }, { 'Ticker', TICKER }, { 'Next-Cursor', more } },
    count == 0 and '{}' or json.encode(page))
end

asking['Total-Supply'] = function(input)
  answer(input, {
    { 'Action', 'Total-Supply-Response' }, { 'Total-Supply', amount.text(supply) }, { 'Ticker', TICKER },
  }, amount.text(supply))
end

local ERRORS = { Transfer = 'Transfer-Error', ['Batch-Transfer'] = 'Transfer-Error', Burn = 'Burn-Error' }

local function refuse(input, name, refused)
  local extra = { { 'X-Transfer', input.tags['X-Transfer'] }, { 'X-Reference', input.tags['X-Reference'] } }
  notice(input.from, ERRORS[name] or 'Error', {
    { 'Message-Id', input.id },
    { 'Code', refused.code },
    { 'Error', refused.sentence },
    { 'Failed-Action', name },
  }, extra, refused.sentence)
end

--- A process numbers its messages, and its pushing unit may sign one of them twice.
local function keysOf(input)
  local keys = { input.id }
  if input.from ~= input.owner and input.tags.Reference then
    keys[2] = input.from .. '|' .. input.tags.Reference
  end
  return keys
end

local function change(name, input)
  local keys = keysOf(input)
  for _, key in ipairs(keys) do
    if dedupe.seen(key) then return end
  end
  local refused = refusal.catch(changing[name], input)
  if refused then return refuse(input, name, refused) end
  for _, key in ipairs(keys) do
    dedupe.mark(key)
  end
end

--- @param input table
function token.handle(input)
  local name = input.tags.Action
  if input.refused then return outbox.refuse(input, 'bad-tags', input.refused) end
  if not name or name == 'Error' or name:match('%-Notice$') or name:match('%-Response$') or name:match('%-Error$') then
    return
  end
  if changing[name] then return change(name, input) end
  local refused = refusal.catch(function()
    if not asking[name] then refusal.raise('unknown-action', 'The token has no action of this name.') end
    asking[name](input)
  end)
  if refused then refuse(input, name, refused) end
end

--- Gives the whole supply to its first holders.
--- @param first table<string, string> units by address, together exactly the supply
function token.start(first)
  for address, text in pairs(first) do
    assert(isAddress(address), 'a first holder is no address')
    local quantity = assert(amount.parse(text), 'a first balance is no amount')
    set(address, quantity)
    supply = supply + quantity
  end
  assert(supply == SUPPLY, 'the first balances must add up to the supply')
  describe()
end

return token
