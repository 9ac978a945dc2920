--- What a seat pays that does not do what it promised.
local amount = require('apus.codec.amount')
local clock = require('apus.state.clock')
local deadlines = require('apus.state.deadlines')
local jobs = require('apus.jobs.jobs')
local ledger = require('apus.money.ledger')
local miners = require('apus.registry.miners')
local models = require('apus.registry.models')
local parameters = require('apus.state.parameters')
local state = require('apus.state.state')

local penalties = {}

local function seize(seat, quantity, to)
  miners.seize(seat.miner, quantity, to)
  seat.lock = seat.lock - quantity
end

local function due(job, seat, index, span)
  seat.dutyEnds = clock.now() + span
  deadlines.add(seat.dutyEnds, 'seat', { job = job.id, seat = index })
end

--- A committed seat did not reveal in its window: it has until the end of the grace to do so.
--- @param index integer of the seat in the job
function penalties.start(job, seat, index)
  miners.missed(seat.miner)
  if seat.lock then due(job, seat, index, parameters.grace) end
end

--- A late reveal costs a fee and is open to dispute as long as any other.
function penalties.late(job, seat, index)
  local fee = amount.min(amount.share(job.seatPrice, parameters.lateFee), seat.lock)
  seize(seat, fee, ledger.BURNING)
  seat.disputableUntil = clock.now() + parameters.disputeWindow
  due(job, seat, index, parameters.disputeWindow)
end

--- Takes the bond of a seat: parts of it go to the requester and to who proved the fault, all else is burnt.
--- @param prover string | nil address
local function slash(job, seat, prover)
  local part = amount.min(job.seatPrice, amount.share(job.bond, parameters.slashRequester))
  local reward = prover and amount.share(job.bond, parameters.slashProver) or amount.ZERO
  seize(seat, part, ledger.account(job.requester))
  if prover then seize(seat, reward, ledger.account(prover)) end
  seize(seat, job.bond - part - reward, ledger.BURNING)
  seat.slashed = job.bond
  miners.convicted(seat.miner)
end

--- What a seat was paid goes back to the requester, from its lock: that part of it is never a dispute's bond.
function penalties.takeBack(job, seat)
  if not seat.paid then return end
  seize(seat, seat.paid, ledger.account(job.requester))
  job.refunded = job.refunded + seat.paid
  job.agreed.seats = job.agreed.seats - 1
  seat.paid = nil
end

--- Convicts a seat: it loses its bond, once, and its pay, and owes nothing more, no reveal either.
--- @param prover string address
function penalties.convict(job, seat, prover)
  if seat.state == 'committed' then seat.state = 'late' end
  slash(job, seat, prover)
  penalties.takeBack(job, seat)
  seat.dutyEnds = nil
  jobs.release(job, seat)
end

--- Ends a late seat whose time is over, when nobody disputes it: without a reveal it loses its bond.
local function close(job, seat, index)
  if seat.resultRoot and job.disputes > 0 then return due(job, seat, index, parameters.disputeRecheck) end
  if not seat.resultRoot then slash(job, seat) end
  seat.dutyEnds = nil
  jobs.release(job, seat)
  jobs.changed(job)
  jobs.retire(job)
end

--- Ends the late seats of a job whose time is over.
function penalties.touch(job)
  for index, seat in ipairs(job.seats) do
    if seat.dutyEnds and seat.dutyEnds <= clock.now() then close(job, seat, index) end
  end
end

deadlines.handle('seat', function(entry)
  local job = state.jobs[entry.job]
  local seat = job and job.seats[entry.seat]
  if not seat or seat.dutyEnds ~= entry.at or models.isVoid(job.model) then return false end
  close(job, seat, entry.seat)
  return true
end)

return penalties
