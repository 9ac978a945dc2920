--- The rounds of a job: seats are drawn, commit, perhaps an audit seat follows, all reveal, and equal roots are paid.
local agreement = require('apus.jobs.agreement')
local amount = require('apus.codec.amount')
local attempt = require('apus.state.attempt')
local audit = require('apus.jobs.audit')
local clock = require('apus.state.clock')
local deadlines = require('apus.state.deadlines')
local jobs = require('apus.jobs.jobs')
local ledger = require('apus.money.ledger')
local miners = require('apus.registry.miners')
local models = require('apus.registry.models')
local parameters = require('apus.state.parameters')
local penalties = require('apus.jobs.penalties')
local refusal = require('apus.intake.refusal')
local results = require('apus.jobs.results')
local seats = require('apus.jobs.seats')
local state = require('apus.state.state')

local rounds = {}

--- Missing seats are drawn anew this often.
local MAX_REDRAWS = 2
--- Number of the first audit draw; 0 to 2 are the draws of ordinary seats.
local AUDIT_DRAW = 3

local function seatsIn(job, wanted)
  local found = {}
  for _, seat in ipairs(job.seats) do
    if seat.state == wanted then found[#found + 1] = seat end
  end
  return found
end

local function commitWindow(job)
  return parameters.commitWindow + parameters.commitWindowPerToken * job.maxTokens
end

--- Seats drawn from the job's roster, those taken and those who cannot sit now left out.
local function drawFrom(job, hashChain, count, round, whole)
  local taken, names, weights = {}, {}, {}
  for _, seat in ipairs(job.seats) do
    taken[seat.miner] = true
  end
  for i, miner in ipairs(job.roster.miners) do
    if not taken[miner] and miners.canSit(miner, job.lock) then
      names[#names + 1], weights[#weights + 1] = miner, job.roster.weights[i]
    end
  end
  if whole and #names < count then return {} end
  return seats.draw(seats.seed(hashChain, job.id, round), names, weights, count)
end

local function addSeats(job, drawn, draw, isAudit)
  for _, miner in ipairs(drawn) do
    local seat = { miner = miner, state = 'drawn', draw = draw, audit = isAudit }
    if job.verifiable then
      miners.lock(miner, job.lock)
      seat.lock = job.lock
      job.duties = job.duties + 1
    end
    job.seats[#job.seats + 1] = seat
    miners.sit(miner)
  end
end

--- The one root of prompt tokens that the job has or all its committed seats name; nil when they name several.
local function promptTokensOf(job)
  if job.promptTokens then return job.promptTokens end
  local root
  for _, seat in ipairs(job.seats) do
    if seat.state == 'committed' then
      if root and seat.promptTokens ~= root then return nil end
      root = seat.promptTokens
    end
  end
  return root
end

--- Seats disagree about the prompt itself: each gets a fee, the rest goes back and nobody is to blame.
local function void(job)
  local fee = amount.share(job.seatPrice, parameters.voidFee)
  for _, seat in ipairs(seatsIn(job, 'committed')) do
    ledger.move(fee, ledger.escrow(job), ledger.account(seat.miner))
    seat.paid = fee
  end
  jobs.finish(job, 'void', 'prompt-tokens-differ')
end

local function startRevealing(job)
  job.promptTokens = promptTokensOf(job)
  if not job.promptTokens then return void(job) end
  job.state, job.awaiting = 'revealing', nil
  jobs.expire(job, parameters.revealWindow)
end

local function closeCommits(job)
  if #seatsIn(job, 'committed') == 0 then return jobs.finish(job, 'expired', 'no-commitments') end
  if not promptTokensOf(job) then return void(job) end
  if not job.verifiable then return startRevealing(job) end
  job.state = 'auditing'
  jobs.awaitDraw(job, 'audit')
  jobs.expire(job, parameters.drawTimeout)
end

--- Moves on when no drawn seat is left to wait for: to another draw of the missing ones, or to the next round.
local function afterCommit(job)
  if #seatsIn(job, 'drawn') > 0 or job.awaiting then return end
  if job.state == 'auditing' then
    if job.auditCommitted or job.auditDraws > MAX_REDRAWS then return startRevealing(job) end
    jobs.awaitDraw(job, 'audit-seat')
    return jobs.expire(job, parameters.drawTimeout)
  end
  local missing = job.redundancy - #seatsIn(job, 'committed')
  if missing == 0 or job.redraws > MAX_REDRAWS then return closeCommits(job) end
  jobs.awaitDraw(job, 'seats')
  jobs.expire(job, parameters.drawTimeout)
end

local function drawSeats(job, hashChain)
  local first = job.redraws == 0
  local missing = job.redundancy - #seatsIn(job, 'committed')
  local drawn = drawFrom(job, hashChain, missing, job.redraws, first)
  if first and #drawn == 0 then
    -- Stake may come free: the job waits, and tries again until its timeout.
    return jobs.expire(job, math.min(parameters.drawRetry, job.drawUntil - clock.now()))
  end
  addSeats(job, drawn, job.redraws, false)
  job.redraws = #drawn > 0 and job.redraws + 1 or MAX_REDRAWS + 1
  job.state = 'seated'
  if #drawn == 0 then return afterCommit(job) end
  jobs.expire(job, commitWindow(job))
end

local function drawAuditSeat(job, hashChain)
  local drawn = drawFrom(job, hashChain, 1, AUDIT_DRAW + job.auditDraws)
  if #drawn == 0 then return startRevealing(job) end
  addSeats(job, drawn, job.auditDraws, true)
  job.auditDraws = job.auditDraws + 1
  jobs.expire(job, commitWindow(job))
end

local function drawAudit(job, hashChain)
  local least
  for _, seat in ipairs(seatsIn(job, 'committed')) do
    local standing = miners.standing(seat.miner)
    least = math.min(least or standing, standing)
  end
  local chance = audit.chance(least, job.seatPrice, job.bond)
  if audit.isDrawn(hashChain, job.id, chance) then return drawAuditSeat(job, hashChain) end
  startRevealing(job)
end

local DRAWS = { seats = drawSeats, audit = drawAudit, ['audit-seat'] = drawAuditSeat }

--- Makes the draws that earlier messages asked for. It runs before the message acts, so that only the scheduler could
--- choose the hash chain.
--- @param hashChain any
function rounds.draw(hashChain)
  if type(hashChain) ~= 'string' or #state.draws == 0 then return end
  local waiting = state.draws
  state.draws = {}
  for _, id in ipairs(waiting) do
    local job = state.jobs[id]
    if job and job.awaiting then
      local draw = DRAWS[job.awaiting]
      job.awaiting = nil
      attempt('draw', id, function() draw(job, hashChain) end)
      jobs.changed(job)
    end
  end
end

local OVERDUE = {
  submitted = function(job)
    if job.drawUntil <= clock.now() then return jobs.finish(job, 'expired', 'too-few-miners') end
    jobs.awaitDraw(job, 'seats')
    jobs.expire(job, job.drawUntil - clock.now())
  end,
  seated = function(job)
    if job.awaiting then job.awaiting, job.redraws = nil, MAX_REDRAWS + 1 end
    -- A job that nobody could do says nothing about those who did not do it.
    local isFeasible = #seatsIn(job, 'committed') > 0
    for _, seat in ipairs(seatsIn(job, 'drawn')) do
      seat.state = 'missed'
      if isFeasible then miners.missed(seat.miner) end
      jobs.release(job, seat)
    end
    afterCommit(job)
  end,
  revealing = function(job)
    for index, seat in ipairs(job.seats) do
      if seat.state == 'committed' then
        seat.state = 'late'
        penalties.start(job, seat, index)
      end
    end
    agreement.decide(job)
  end,
}

--- Nothing is final while a dispute is open.
for name, close in pairs({ agreed = agreement.settle, held = agreement.closeHeld }) do
  OVERDUE[name] = function(job)
    if job.disputes > 0 then return jobs.expire(job, parameters.disputeRecheck) end
    close(job)
  end
end

OVERDUE.auditing = function(job)
  if job.awaiting then return startRevealing(job) end
  OVERDUE.seated(job)
end

--- Makes the moves of a job of which a dispute or a conviction has ended: when no dispute is open, a held job with one
--- root left is paid, one without any seat left is refunded, and what was only held up by disputes is final.
function rounds.resolve(job)
  if job.ended then return jobs.retire(job) end
  if job.state == 'revealing' then
    if #seatsIn(job, 'committed') == 0 then agreement.decide(job) end
    return jobs.changed(job)
  end
  if job.disputes > 0 or (job.state ~= 'held' and job.state ~= 'agreed') then return end
  if not agreement.review(job) then return end
  if job.finalAt <= clock.now() then OVERDUE[job.state](job) end
  jobs.changed(job)
end

--- Ends a job whose bundle is none of the machine's: nobody owes anything any more, all money that it holds or has
--- paid goes back. What ended before, and faults proven before, stand.
function rounds.void(job)
  job.voided = true
  for _, seat in ipairs(job.seats) do
    if not job.ended then penalties.takeBack(job, seat) end
    seat.dutyEnds = nil
    jobs.release(job, seat)
  end
  if not job.ended then return jobs.finish(job, 'void', 'void-bundle') end
  jobs.changed(job)
  jobs.retire(job)
end

--- Makes the job's overdue moves.
function rounds.touch(job)
  if models.isVoid(job.model) and not job.voided then rounds.void(job) end
  while not job.ended and job.deadline <= clock.now() do
    OVERDUE[job.state](job)
    jobs.changed(job)
  end
  penalties.touch(job)
end

--- The same before a seat acts, or a refusal.
local function touchFor(job)
  rounds.touch(job)
  if job.voided then refusal.raise('job-ended', 'The job has ended: its model is void.') end
end

deadlines.handle('job', function(entry)
  local job = state.jobs[entry.job]
  if not job or job.ended or job.deadline ~= entry.at or models.isVoid(job.model) then return false end
  OVERDUE[job.state](job)
  jobs.changed(job)
  return true
end)

local function seatOf(job, miner)
  for index, seat in ipairs(job.seats) do
    if seat.miner == miner then return seat, index end
  end
  refusal.raise('no-seat', 'This wallet has no seat in the job.')
end

--- Takes a seat's commitment; the first one counts.
--- @param promptTokens string | nil root of the prompt's tokens as the seat cut them
--- @param id string of the message
function rounds.commit(job, miner, commitment, promptTokens, id)
  touchFor(job)
  local seat = seatOf(job, miner)
  if seat.commitment then
    refusal.raise('already-committed', 'This seat has committed already; only its first commitment counts.')
  end
  if seat.state ~= 'drawn' then refusal.raise('seat-lost', 'The time to commit is over.') end
  if job.promptTokens then
    if promptTokens and promptTokens ~= job.promptTokens then
      refusal.raise('prompt-tokens-differ', 'The requester has bound the job to other prompt tokens.')
    end
  elseif not promptTokens then
    refusal.raise('bad-tag', 'The tag Prompt-Tokens must be given, because the requester bound no prompt tokens.')
  end
  seat.state, seat.commitment, seat.promptTokens = 'committed', commitment, promptTokens
  seat.messages = { commit = id }
  if seat.audit then job.auditCommitted = true end
  jobs.changed(job)
  afterCommit(job)
end

--- Gives a committed seat up, while it is not known whether the job is audited.
function rounds.retract(job, miner)
  touchFor(job)
  local seat = seatOf(job, miner)
  if seat.state ~= 'committed' or job.state ~= 'seated' then
    refusal.raise('too-late-to-retract', 'A commitment can be taken back only before all seats have committed.')
  end
  seat.state, seat.commitment, seat.messages = 'missed', nil, nil
  miners.missed(miner)
  jobs.release(job, seat)
  jobs.changed(job)
  afterCommit(job)
end

--- Opens a seat's commitment; after the window it earns nothing, but fulfils the seat's duty.
--- @param id string of the message
function rounds.reveal(job, miner, salt, tags, data, id)
  touchFor(job)
  local seat, index = seatOf(job, miner)
  if seat.resultRoot then refusal.raise('already-revealed', 'This seat has revealed already.') end
  if seat.state ~= 'committed' and seat.state ~= 'late' then
    refusal.raise('not-committed', 'The seat has no commitment to open.')
  end
  if seat.state == 'late' and not seat.lock then
    refusal.raise('reveal-too-late', 'The time to reveal is over.')
  end
  if job.state == 'seated' or job.state == 'auditing' then
    refusal.raise('reveal-too-early', 'A seat can reveal only after all seats have committed.')
  end
  local result = results.read(tags, job)
  local root = results.root(job, job.promptTokens, result)
  if results.commitment(job, miner, salt, root) ~= seat.commitment then
    refusal.raise('reveal-mismatch', 'The reveal does not open the commitment.')
  end
  local isLate = seat.state == 'late'
  local tokens = results.tokens(job, result, data)
  local answer = not isLate and results.answer(job, result, tags, data)
  results.keepTokens(job, result, tokens)
  if isLate then
    seat.resultRoot, seat.result, seat.salt, seat.messages.reveal = root, result, salt, id
    penalties.late(job, seat, index)
  else
    job.answers[result.answerRoot] = answer or job.answers[result.answerRoot]
    seat.state, seat.resultRoot, seat.result, seat.salt = 'revealed', root, result, salt
    seat.messages.reveal = id
    if seat.audit then job.auditRevealed = true end
    miners.served(miner)
    if #seatsIn(job, 'committed') == 0 then agreement.decide(job) end
  end
  jobs.changed(job)
end

--- Ends a job for which no seat could be drawn yet.
function rounds.cancel(job)
  rounds.touch(job)
  if job.ended then refusal.raise('job-ended', 'The job has ended.') end
  if job.state ~= 'submitted' then
    refusal.raise('too-late-to-cancel', 'The seats of the job are drawn already, so it cannot be cancelled.')
  end
  jobs.finish(job, 'cancelled', 'cancelled')
end

return rounds
