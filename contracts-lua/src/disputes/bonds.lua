--- The bonds of disputes: what they cost, where they come from and go back to.
local amount = require('apus.codec.amount')
local ledger = require('apus.money.ledger')
local miners = require('apus.registry.miners')
local refusal = require('apus.intake.refusal')

local bonds = {}

local HALF = 500000
--- A bond grows by a quarter for every dispute that waits already.
local BOND_STEPS = 4

--- The challenger's own seat when it has revealed another root than the accused: it goes before others.
--- @param seat table of the accused
--- @param own table | nil seat of the challenger
--- @return table | nil own
function bonds.rival(seat, own)
  return own and own.resultRoot and not own.slashed and own.resultRoot ~= seat.resultRoot and own or nil
end

--- What opening one more dispute costs now. A rival pays for its own disputes only: no flood can price it out.
--- @param waiting integer disputes of the accused
function bonds.price(job, waiting, rival)
  if rival then waiting = rival.accusing or 0 end
  return job.disputeBond * amount.of(BOND_STEPS + waiting) // amount.of(BOND_STEPS)
end

--- What a seat has locked for disputes: never what it would lose or give back itself.
local function reserveOf(job, seat)
  if not seat or not seat.lock then return amount.ZERO end
  return amount.max(amount.ZERO, seat.lock - job.bond - job.seatPrice)
end

--- Takes the bond from the challenger's account, and what is missing there from what its seat has locked for it.
--- @param seat table | nil of the challenger
function bonds.take(d, job, bond, seat)
  local reserve = reserveOf(job, seat)
  local account = amount.min(bond, ledger.balance(d.challenger))
  local rest = bond - account
  if reserve < rest then
    refusal.raise('underpaid', 'The bond is ' .. amount.text(bond) .. ' units, the account holds '
      .. amount.text(ledger.balance(d.challenger)) .. '.')
  end
  ledger.move(account, ledger.account(d.challenger), ledger.bond(d))
  if amount.ZERO < rest then
    miners.seize(d.challenger, rest, ledger.bond(d))
    seat.lock = seat.lock - rest
  end
  d.staked = rest
end

--- Gives the bond back to where it came from.
--- @param seat table | nil of the challenger
function bonds.giveBack(d, seat)
  if amount.ZERO < d.staked then
    miners.restore(d.challenger, d.staked, ledger.bond(d), seat.lock ~= nil)
    if seat.lock then seat.lock = seat.lock + d.staked end
  end
  ledger.move(d.bond, ledger.bond(d), ledger.account(d.challenger))
end

--- Half of a lost bond is the accused's, the rest is burnt.
function bonds.lose(d)
  local half = amount.share(d.bond, HALF)
  ledger.move(half, ledger.bond(d), ledger.account(d.accused))
  ledger.move(d.bond, ledger.bond(d), ledger.BURNING)
end

return bonds
