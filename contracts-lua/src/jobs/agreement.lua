--- What becomes of a job when its seats have revealed: who agrees, who is paid, and when that is final.
local clock = require('apus.state.clock')
local jobs = require('apus.jobs.jobs')
local miners = require('apus.registry.miners')
local parameters = require('apus.state.parameters')

local agreement = {}

local function revealed(job)
  local found, roots, distinct = {}, {}, 0
  for _, seat in ipairs(job.seats) do
    if seat.state == 'revealed' and not seat.slashed then
      found[#found + 1] = seat
      local group = roots[seat.resultRoot]
      if not group then
        group = {}
        roots[seat.resultRoot] = group
        distinct = distinct + 1
      end
      group[#group + 1] = seat
    end
  end
  return found, roots, distinct
end

--- Seats of the root that at least two thirds of the revealed seats share; two of them when the job asked for several.
local function majority(job, found, roots)
  for _, seat in ipairs(found) do
    local group = roots[seat.resultRoot]
    if #group * 3 >= #found * 2 and (job.redundancy == 1 or #group >= 2) then return group end
  end
  return nil
end

--- Ends a job whose seats were all convicted: what they were paid has gone back.
local function refuse(job)
  jobs.finish(job, 'refunded', 'all-convicted')
end

--- What a job has paid is final: audited seats gain standing.
function agreement.settle(job)
  if job.verifiable and job.agreed.seats == 0 then return refuse(job) end
  for _, seat in ipairs(job.seats) do
    if job.auditRevealed and seat.paid then miners.won(seat.miner) end
  end
  if job.deliver == 'Final' then jobs.respond(job) end
  jobs.finish(job, 'settled')
end

--- Equal roots are paid at once; what is left of the window still counts.
local function agree(job, found)
  job.state = 'agreed'
  jobs.pay(job, found)
  if job.deliver ~= 'Final' then jobs.respond(job) end
end

--- All seats have revealed or are late: equal roots are paid, unequal ones wait for disputes.
function agreement.decide(job)
  local found, roots, distinct = revealed(job)
  if #found == 0 then return jobs.finish(job, 'expired', 'no-reveals') end
  if not job.verifiable then
    local group = majority(job, found, roots)
    if not group then return jobs.finish(job, 'refunded', 'no-agreement') end
    job.finalAt = clock.now()
    jobs.pay(job, group)
    if job.deliver ~= 'Final' then jobs.respond(job) end
    return agreement.settle(job)
  end
  job.finalAt = clock.now() + parameters.disputeWindow
  jobs.expire(job, parameters.disputeWindow)
  if distinct == 1 then return agree(job, found) end
  job.state = 'held'
end

--- The window of a job with several roots is over.
function agreement.closeHeld(job)
  local found, _, distinct = revealed(job)
  if #found == 0 then return refuse(job) end
  if distinct ~= 1 then return jobs.finish(job, 'refunded', 'unequal-results') end
  agree(job, found)
  agreement.settle(job)
end

--- Looks at a job again whose last dispute has ended: with one root left it is paid, without any seat refunded.
--- @return boolean whether it goes on
function agreement.review(job)
  local found, _, distinct = revealed(job)
  if #found == 0 then
    refuse(job)
    return false
  end
  if job.state == 'held' and distinct == 1 then agree(job, found) end
  return true
end

return agreement
