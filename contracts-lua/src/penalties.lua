--- What a seat pays that does not do what it promised.
local amount = require('apus.amount')
local clock = require('apus.clock')
local deadlines = require('apus.deadlines')
local jobs = require('apus.jobs')
local ledger = require('apus.ledger')
local miners = require('apus.miners')
local parameters = require('apus.parameters')
local state = require('apus.state')

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
  due(job, seat, index, parameters.disputeWindow)
end

--- Takes the bond of a seat: a part of it goes to the requester, all else is burnt.
local function slash(job, seat)
  local part = amount.min(job.seatPrice, amount.share(job.bond, parameters.slashRequester))
  seize(seat, part, ledger.account(job.requester))
  seize(seat, job.bond - part, ledger.BURNING)
  seat.slashed = job.bond
  miners.convicted(seat.miner)
end

--- Ends a late seat whose time is over: without a reveal it loses its bond.
local function close(job, seat)
  if not seat.resultRoot then slash(job, seat) end
  seat.dutyEnds = nil
  jobs.release(job, seat)
  jobs.changed(job)
  jobs.retire(job)
end

--- Ends the late seats of a job whose time is over.
function penalties.touch(job)
  for _, seat in ipairs(job.seats) do
    if seat.dutyEnds and seat.dutyEnds <= clock.now() then close(job, seat) end
  end
end

deadlines.handle('seat', function(entry)
  local job = state.jobs[entry.job]
  local seat = job and job.seats[entry.seat]
  if not seat or seat.dutyEnds ~= entry.at then return false end
  close(job, seat)
  return true
end)

return penalties
