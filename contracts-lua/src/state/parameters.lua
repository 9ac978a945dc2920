--- The network's tunables: defaults for public networks, overridden by the configuration a process is deployed with.
--- Times are network time in ms, amounts token units (10^12 units = 1 APUS), shares millionths.
local amount = require('apus.codec.amount')
local config = require('apus.config')

local APUS = '000000000000'

local defaults = {
  --- Time to compute and commit: loading a model and a queue of jobs before this one.
  commitWindow = 600000,
  --- Added to the commit window for every token that a job may ask for: five tokens a second.
  commitWindowPerToken = 200,
  --- Opening a commitment is one message; ten minutes outlast a restart.
  revealWindow = 600000,
  --- Time in which anyone may show that a result is wrong: recomputing it takes as long as computing it.
  disputeWindow = 3600000,
  --- Time of each side of a dispute, spent while it must move: a restart and a re-run of the job fit in many times.
  disputeClock = 7200000,
  --- Given back for every move, so that no chain of questions wears an honest side out.
  disputeIncrement = 1200000,
  --- A job that is due while disputes are open is looked at again after this time, if nothing else does it before.
  disputeRecheck = 600000,
  --- A seat that committed must reveal within this time after its window or loses its bond.
  grace = 86400000,
  --- Stake stays for this long after it was asked back.
  unstakeDelay = 604800000,
  --- A job waits this long for enough miners with free stake, or for a message to draw its seats.
  drawTimeout = 600000,
  --- Pause between two attempts to draw the seats of a waiting job.
  drawRetry = 30000,
  --- A registration without the least stake is dropped after this time, so that nobody keeps a peer id for nothing.
  registerGrace = 86400000,
  --- Ended jobs can be asked for this long; their references cannot be used again before.
  retention = 604800000,

  --- Least stake of a miner that is drawn: a wallet must cost more than a chance at a seat is worth.
  minStake = '1000' .. APUS,
  --- A seat's bond as a multiple of the most it can earn, so that one caught lie costs more than many pay.
  seatBondFactor = 25,
  --- Least bond of a seat, for jobs that cost next to nothing.
  seatBondFloor = '10' .. APUS,
  --- Least dispute bond: what makes a baseless dispute dear.
  disputeBondFloor = '1' .. APUS,
  --- Fee for a reveal after its window, as a share of the seat's price; taken from stake and burnt.
  lateFee = 100000,
  --- What each committed seat is paid, as a share of its price, when seats disagree about the prompt's tokens.
  voidFee = 50000,
  --- Bond for listing a model; it makes spam dear.
  listingBond = '100' .. APUS,
  --- Units waiting to be burnt are burnt together once they are this many: one message to the token each time.
  burnBatch = '1' .. APUS,

  --- Audits are certain until each seat of a job has won this many audited jobs.
  auditNewcomer = 4,
  --- What a liar saves by not computing, as a share of a seat's price.
  auditSaving = 1000000,
  --- Assumed chance that the audit seat is honest: two thirds of the stake.
  auditHonest = 666667,

  --- Shares of a lost bond: burnt at least a half; to the requester at most a fifth and at most the seat's price.
  slashRequester = 200000,
  --- To whoever proved the fault.
  slashProver = 300000,

  --- Seats of a job that asks for none: the least number of which one can be wrong and two still agree.
  redundancy = 3,
  maxRedundancy = 16,
  --- Longest answer in tokens.
  maxTokens = 4096,
  --- Longest prompt in bytes; longer ones are stored on Arweave and named by id.
  maxPrompt = 65536,
  --- Longest answer in bytes that a reveal carries itself.
  maxInlineAnswer = 32768,
  --- Longest data of a listing in bytes.
  maxHeader = 32768,
  --- Models that one miner may serve.
  maxServed = 64,
  --- Classes whose results the contract can recompute; only their seats lock stake.
  verifiableClasses = { 'apus-machine-1' },
}

local AMOUNTS = { 'minStake', 'seatBondFloor', 'disputeBondFloor', 'listingBond', 'burnBatch' }

local parameters = {}
--- The same values as plain text and numbers, for publication.
local published = {}

for name, default in pairs(defaults) do
  local value = (config.parameters or {})[name]
  if value == nil then value = default end
  assert(type(value) == type(default), 'parameter ' .. name .. ' has the wrong type')
  parameters[name], published[name] = value, value
end
for name in pairs(config.parameters or {}) do
  assert(defaults[name] ~= nil, 'unknown parameter ' .. name)
end
for _, name in ipairs(AMOUNTS) do
  parameters[name] = assert(amount.parse(parameters[name]), 'parameter ' .. name .. ' must be an amount')
end

parameters.published = published

return parameters
