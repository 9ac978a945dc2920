--- Whether one more seat recomputes a job, decided after nobody can change what was committed.
local amount = require('apus.codec.amount')
local digest = require('apus.codec.digest')
local parameters = require('apus.state.parameters')
local seats = require('apus.jobs.seats')

local audit = {}

local MILLION = 1000000

--- The chance of an audit in millionths: certain while any seat's standing is below that of a newcomer, then falling
--- as newcomer / standing, but never below saving / (honest × (price + bond)), where lying stops to pay.
--- @param standing integer least standing of the committed seats
--- @param price table most that a seat earns
--- @param bond table what a seat loses when it is caught
--- @return integer
function audit.chance(standing, price, bond)
  if standing < parameters.auditNewcomer then return MILLION end
  local earned = parameters.auditNewcomer * MILLION // standing
  local atStake = amount.share(price + bond, parameters.auditHonest)
  if amount.ZERO >= atStake then return MILLION end
  local saved = amount.share(price, parameters.auditSaving)
  local floor = amount.quotient(saved * amount.of(MILLION), atStake) + 1
  return math.min(MILLION, math.max(earned, floor))
end

--- @param hashChain string of the first message after the last commitment
--- @param job string
--- @param chance integer millionths
--- @return boolean
function audit.isDrawn(hashChain, job, chance)
  return seats.point(digest.of('apus/audit-seed', hashChain, job), 0, MILLION) < chance
end

return audit
