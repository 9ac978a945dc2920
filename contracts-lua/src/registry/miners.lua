--- Who computes: wallets with a peer, stake, the models they serve, and the locks on their stake.
local amount = require('apus.codec.amount')
local clock = require('apus.state.clock')
local deadlines = require('apus.state.deadlines')
local json = require('json')
local ledger = require('apus.money.ledger')
local outbox = require('apus.aos.outbox')
local parameters = require('apus.state.parameters')
local publish = require('apus.aos.publish')
local refusal = require('apus.intake.refusal')
local state = require('apus.state.state')

local miners = {}

--- Weight 1 stands for one APUS of stake.
local WEIGHT_UNIT = amount.parse('1000000000000')
--- Missed leases that count: further ones neither lower the weight nor lengthen the way back.
local MAX_MISSED = 16
--- Peers that one miner leaves behind while its stake is locked.
local MAX_FORMER = 16

local function isActive(miner)
  return miner.peer ~= nil and not miner.leaving and not miner.paused
end

local function view(miner)
  return function()
    return json.encode({
      address = miner.address,
      peer = miner.peer,
      nodeSignature = miner.nodeSignature,
      expires = miner.expires,
      active = isActive(miner),
      models = miner.models,
      stake = amount.text(miner.stake),
      locked = amount.text(miner.locked),
      unstaking = amount.text(miner.unstaking),
      standing = miner.standing,
      missed = miner.missed,
    })
  end
end

--- Marks the miner as changed; with `drawn`, also what draws depend on.
local function changed(miner, drawn)
  miner.free = nil
  publish.changed('miners', miner.address, view(miner))
  if not drawn then return end
  miner.weight = nil
  for _, model in ipairs(miner.models) do
    state.rosters[model] = nil
  end
end

--- Stake that is neither locked nor on its way out.
local function free(miner)
  miner.free = miner.free or miner.stake - miner.locked - miner.unstaking
  return miner.free
end

--- Chances in a draw are linear in stake and shrink with missed leases: stake / (1 + missed), 0 below the least stake.
local function weightOf(miner)
  if not miner.weight then
    local stake = miner.stake - miner.unstaking
    local enough = stake >= parameters.minStake
    local units = enough and amount.quotient(stake, WEIGHT_UNIT) or 0
    miner.weight = enough and math.max(1, units // (1 + miner.missed)) or 0
  end
  return miner.weight
end

local function position(list, address)
  local low, high = 1, #list + 1
  while low < high do
    local middle = (low + high) // 2
    if list[middle] < address then low = middle + 1 else high = middle end
  end
  return low
end

local function unlist(miner)
  for _, model in ipairs(miner.models) do
    local list = state.serving[model]
    table.remove(list, position(list, miner.address))
    state.rosters[model] = nil
  end
  miner.models = {}
end

--- Frees the peers that the miner had before.
local function forgetFormer(miner)
  for _, peer in ipairs(miner.former or {}) do
    if peer ~= miner.peer then state.peers[peer] = nil end
  end
  miner.former = nil
end

local function forgetPeer(miner)
  forgetFormer(miner)
  if miner.peer then state.peers[miner.peer] = nil end
  miner.peer, miner.nodeSignature, miner.expires, miner.leaving = nil, nil, nil, nil
end

--- Drops a miner that has nothing left here.
local function drop(miner)
  if miner.peer or miner.seats > 0 or amount.ZERO < miner.stake or amount.ZERO < miner.locked then return end
  unlist(miner)
  state.miners[miner.address] = nil
  publish.changed('miners', miner.address, function() return '' end)
end

--- @param address string
--- @return table | nil
function miners.find(address)
  return state.miners[address]
end

local function obtain(address)
  local miner = state.miners[address]
  if not miner then
    miner = {
      address = address, models = {}, stake = amount.ZERO, locked = amount.ZERO, unstaking = amount.ZERO,
      standing = 0, missed = 0, seats = 0,
    }
    state.miners[address] = miner
  end
  return miner
end

--- The registered miner of that address, or a refusal `not-registered`.
--- @param address string
function miners.registered(address)
  local miner = state.miners[address]
  if not miner or not miner.peer or miner.leaving then
    refusal.raise('not-registered', 'This wallet is not registered as a miner.')
  end
  return miner
end

--- The miner takes another peer. While its stake is locked the old one stays bound to it, because what that key said
--- of its seats still counts.
local function leavePeer(miner, next)
  local peer = miner.peer
  if not peer or peer == next then return end
  if miner.locked == amount.ZERO then
    state.peers[peer] = nil
    return
  end
  local former = miner.former or {}
  if #former >= MAX_FORMER then refusal.raise('peer-locked', 'The peer changed too often while stake is locked.') end
  former[#former + 1] = peer
  miner.former = former
end

--- Whether the peer is bound to the wallet, or was since the wallet's stake is locked.
--- @param peer string
--- @param address string
--- @return boolean
function miners.speaksFor(peer, address)
  return state.peers[peer] == address
end

--- Binds a wallet and a peer to each other, one to one.
--- @param expires integer ms since the epoch
function miners.register(address, peer, nodeSignature, expires)
  local owner = state.peers[peer]
  if owner and owner ~= address then
    refusal.raise('peer-taken', 'This peer is bound to another wallet.')
  end
  if expires <= clock.timestamp() then refusal.raise('binding-expired', 'The binding has already expired.') end
  local miner = obtain(address)
  leavePeer(miner, peer)
  state.peers[peer] = address
  miner.peer, miner.nodeSignature, miner.expires = peer, nodeSignature, expires
  miner.leaving = nil
  changed(miner, true)
  if miner.stake < parameters.minStake then
    deadlines.add(clock.now() + parameters.registerGrace, 'registration', { miner = address })
  end
end

deadlines.handle('registration', function(entry)
  local miner = state.miners[entry.miner]
  if not miner or not miner.peer or miner.stake >= parameters.minStake then return false end
  if amount.ZERO < miner.locked then return false end
  unlist(miner)
  forgetPeer(miner)
  changed(miner, true)
  drop(miner)
  return true
end)

--- No more seats; the peer stays bound while stake is locked.
function miners.unregister(miner)
  changed(miner, true)
  unlist(miner)
  miner.leaving = true
  if miner.locked == amount.ZERO then
    forgetPeer(miner)
    drop(miner)
  end
end

--- @param paused boolean
function miners.pause(miner, paused)
  miner.paused = paused or nil
  changed(miner, true)
end

--- Replaces the list of models that the miner serves.
--- @param models string[]
function miners.serve(miner, models)
  changed(miner, true)
  unlist(miner)
  for _, model in ipairs(models) do
    local list = state.serving[model] or {}
    state.serving[model] = list
    table.insert(list, position(list, miner.address), miner.address)
  end
  miner.models = models
  changed(miner, true)
end

--- @param address string
--- @param quantity table units that have arrived for its stake
function miners.stake(address, quantity)
  local miner = obtain(address)
  ledger.receive(quantity, ledger.stake(miner))
  changed(miner, true)
  outbox.add(address, {
    { 'Action', 'Staked' }, { 'Quantity', amount.text(quantity) }, { 'Stake', amount.text(miner.stake) },
  })
end

--- Starts the way out of unlocked stake.
function miners.unstake(miner, quantity)
  if free(miner) < quantity then
    refusal.raise('stake-locked', 'Only ' .. amount.text(free(miner)) .. ' units of stake are free.')
  end
  miner.unstaking = miner.unstaking + quantity
  deadlines.add(clock.now() + parameters.unstakeDelay, 'unstake', { miner = miner.address, quantity = quantity })
  changed(miner, true)
end

deadlines.handle('unstake', function(entry)
  local miner = state.miners[entry.miner]
  if not miner then return false end
  miner.unstaking = miner.unstaking - entry.quantity
  ledger.move(entry.quantity, ledger.stake(miner), ledger.account(miner.address))
  changed(miner, true)
  drop(miner)
  return true
end)

--- Miners that may be drawn for a model, with their weights as they stand now. Shared by all jobs submitted until
--- anything that it depends on changes; never changed itself.
--- @param model string
--- @return table roster { miners: string[], weights: integer[] }
function miners.roster(model)
  local roster = state.rosters[model]
  if not roster then
    roster = { miners = {}, weights = {} }
    for _, address in ipairs(state.serving[model] or {}) do
      local miner = state.miners[address]
      local weight = isActive(miner) and weightOf(miner) or 0
      if weight > 0 then
        roster.miners[#roster.miners + 1] = address
        roster.weights[#roster.weights + 1] = weight
      end
    end
    state.rosters[model] = roster
  end
  return roster
end

--- Whether a miner of a roster can take a seat now: active, its binding valid, enough free stake.
--- @param address string
--- @param lock table units
function miners.canSit(address, lock)
  local miner = state.miners[address]
  return miner ~= nil and isActive(miner) and miner.expires > clock.timestamp() and free(miner) >= lock
end

--- Locks stake for a seat.
function miners.lock(address, quantity)
  local miner = state.miners[address]
  miner.locked = miner.locked + quantity
  assert(miner.stake >= miner.locked + miner.unstaking, 'more locked than staked')
  changed(miner)
end

--- Releases a seat's lock.
function miners.unlock(address, quantity)
  local miner = state.miners[address]
  miner.locked = miner.locked - quantity
  assert(miner.locked >= amount.ZERO, 'more released than locked')
  changed(miner)
  if amount.ZERO < miner.locked then return end
  forgetFormer(miner)
  if miner.leaving then
    forgetPeer(miner)
    drop(miner)
  end
end

--- Takes units of locked stake away; the seat's lock is less by as much.
--- @param to table place
function miners.seize(address, quantity, to)
  local miner = state.miners[address]
  ledger.move(quantity, ledger.stake(miner), to)
  miner.locked = miner.locked - quantity
  assert(miner.locked >= amount.ZERO, 'more seized than locked')
  changed(miner, true)
end

--- Gives units back that were seized; `locked` when the seat that they belong to is still bound.
--- @param from table place
function miners.restore(address, quantity, from, locked)
  local miner = obtain(address)
  ledger.move(quantity, from, ledger.stake(miner))
  if locked then miner.locked = miner.locked + quantity end
  changed(miner, true)
end

--- The miner has a seat more in a job that has not ended: it is not forgotten before.
function miners.sit(address)
  local miner = state.miners[address]
  miner.seats = miner.seats + 1
end

--- A job in which the miner has a seat has ended.
function miners.rise(address)
  local miner = state.miners[address]
  miner.seats = miner.seats - 1
  drop(miner)
end

--- A lease that the miner let lapse lowers its weight.
function miners.missed(address)
  local miner = state.miners[address]
  if not miner or miner.missed >= MAX_MISSED then return end
  miner.missed = miner.missed + 1
  changed(miner, true)
end

--- A seat carried through to its reveal makes up for one missed lease.
function miners.served(address)
  local miner = state.miners[address]
  if not miner or miner.missed == 0 then return end
  miner.missed = miner.missed - 1
  changed(miner, true)
end

--- An audited job became final.
function miners.won(address)
  local miner = state.miners[address]
  if not miner then return end
  miner.standing = miner.standing + 1
  changed(miner)
end

function miners.convicted(address)
  local miner = state.miners[address]
  if not miner then return end
  miner.standing = 0
  changed(miner)
end

--- @param address string
--- @return integer
function miners.standing(address)
  local miner = state.miners[address]
  return miner and miner.standing or 0
end

--- @return string | nil JSON as published
function miners.json(address)
  local miner = state.miners[address]
  return miner and view(miner)()
end

return miners
