--- The only module that moves tokens. A place is where units lie: a field of a table, counted in one pool. What is
--- held always equals the sum of the pools, and every pool the sum of its places.
local amount = require('apus.codec.amount')
local config = require('apus.config')
local json = require('json')
local outbox = require('apus.aos.outbox')
local parameters = require('apus.state.parameters')
local publish = require('apus.aos.publish')
local refusal = require('apus.intake.refusal')
local state = require('apus.state.state')

local ledger = {}

local function place(pool, at, key)
  return { pool = pool, at = at, key = key }
end

local function totalsView()
  local pools = state.pools
  return json.encode({
    accounts = amount.text(pools.accounts),
    escrow = amount.text(pools.escrow),
    stake = amount.text(pools.stake),
    bonds = amount.text(pools.bonds),
    pending = amount.text(pools.pending),
    burning = amount.text(pools.burning),
    burnt = amount.text(state.burnt),
    held = amount.text(state.held),
  })
end

--- Whether totals changed since they were last published.
local stale = true

local function changed(spot)
  stale = true
  if spot.pool == 'accounts' then
    local left = state.accounts[spot.key]
    publish.entry('accounts', spot.key, left and amount.text(left) or '0')
    if left == amount.ZERO then state.accounts[spot.key] = nil end
  end
end

local function add(spot, quantity)
  spot.at[spot.key] = (spot.at[spot.key] or amount.ZERO) + quantity
  state.pools[spot.pool] = state.pools[spot.pool] + quantity
  changed(spot)
end

local function take(spot, quantity)
  local left = (spot.at[spot.key] or amount.ZERO) - quantity
  assert(left >= amount.ZERO, 'more taken than there is in ' .. spot.pool)
  spot.at[spot.key] = left
  state.pools[spot.pool] = state.pools[spot.pool] - quantity
  changed(spot)
end

--- @param address string
function ledger.account(address)
  return place('accounts', state.accounts, address)
end

function ledger.stake(miner)
  return place('stake', miner, 'stake')
end

function ledger.escrow(job)
  return place('escrow', job, 'escrow')
end

function ledger.bond(holder)
  return place('bonds', holder, 'bond')
end

--- Units set aside to be burnt.
ledger.BURNING = place('burning', state, 'burning')

--- @param address string
--- @return table amount
function ledger.balance(address)
  return state.accounts[address] or amount.ZERO
end

--- Units that the token says have arrived.
function ledger.receive(quantity, to)
  state.held = state.held + quantity
  add(to, quantity)
end

function ledger.move(quantity, from, to)
  take(from, quantity)
  add(to, quantity)
end

local function transfer(quantity, from, order, tags)
  state.transfers = state.transfers + 1
  local number = tostring(state.transfers)
  order.number = number
  state.pending[number] = order
  ledger.move(quantity, from, place('pending', order, 'quantity'))
  tags[#tags + 1] = { 'Quantity', amount.text(quantity) }
  tags[#tags + 1] = { 'X-Transfer', number }
  outbox.add(config.token, tags)
end

--- Sends units to an address by the token; they are pending until the token says that they left.
--- @param order table { purpose, recipient, owner }; owner's account gets them back when the token refuses
--- @param tags table list of { name, value } pairs that go along
function ledger.send(quantity, from, order, tags)
  local list = { { 'Action', 'Transfer' }, { 'Recipient', order.recipient } }
  table.move(tags, 1, #tags, 3, list)
  transfer(quantity, from, order, list)
end

--- Sends what waits to be burnt to the token, once it is worth a message.
function ledger.burnBatch()
  local waiting = state.burning or amount.ZERO
  if waiting < parameters.burnBatch or waiting == amount.ZERO then return end
  transfer(waiting, ledger.BURNING, { purpose = 'burn' }, { { 'Action', 'Burn' } })
end

--- The order with this number, or a refusal when it is not pending.
--- @param number string | nil
function ledger.pending(number)
  local order = number and state.pending[number]
  if not order then refusal.raise('unknown-transfer', 'No such transfer is pending.') end
  return order
end

--- The token executed the order: its units are gone.
function ledger.executed(order)
  state.pending[order.number] = nil
  if order.purpose == 'burn' then state.burnt = state.burnt + order.quantity end
  state.held = state.held - order.quantity
  take(place('pending', order, 'quantity'), order.quantity)
end

--- The token refused the order: its units return to where they came from.
function ledger.restored(order)
  state.pending[order.number] = nil
  local spot = order.purpose == 'burn' and ledger.BURNING or ledger.account(order.owner)
  ledger.move(order.quantity, place('pending', order, 'quantity'), spot)
end

--- Checks the books and publishes the totals; a broken invariant raises and discards the whole evaluation.
function ledger.close()
  local pools = state.pools
  local sum = pools.accounts + pools.escrow + pools.stake + pools.bonds + pools.pending + pools.burning
  assert(sum == state.held, 'the pools do not add up to what is held')
  if stale then publish.value('totals', totalsView()) end
  stale = false
end

return ledger
