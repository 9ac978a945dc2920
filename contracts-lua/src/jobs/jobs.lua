--- A job from its submission to its end: the record, what is published of it, and its end with all money accounted for.
local amount = require('apus.codec.amount')
local clock = require('apus.state.clock')
local deadlines = require('apus.state.deadlines')
local seatAnswers = require('apus.jobs.seat-answers')
local json = require('json')
local ledger = require('apus.money.ledger')
local miners = require('apus.registry.miners')
local models = require('apus.registry.models')
local outbox = require('apus.aos.outbox')
local parameters = require('apus.state.parameters')
local publish = require('apus.aos.publish')
local refusal = require('apus.intake.refusal')
local results = require('apus.jobs.results')
local state = require('apus.state.state')

local jobs = {}

--- Ended disputes that one move forgets with their job.
local FORGET_BATCH = 16

local function optionalText(value)
  return value and amount.text(value) or nil
end

local function seatView(seat)
  return {
    miner = seat.miner,
    state = seat.state,
    draw = seat.draw,
    audit = seat.audit,
    commitment = seat.commitment,
    resultRoot = seat.resultRoot,
    statement = seat.lock and seat.result,
    salt = seat.lock and seat.salt,
    messages = seat.messages,
    paid = optionalText(seat.paid),
    slashed = optionalText(seat.slashed),
  }
end

local function encoded(job)
  local seats = {}
  for i, seat in ipairs(job.seats) do
    seats[i] = seatView(seat)
  end
  return json.encode({
    id = job.id,
    requester = job.requester,
    reference = job.reference,
    model = job.model,
    class = job.class,
    verifiable = job.verifiable,
    state = job.state,
    redundancy = job.redundancy,
    maxTokens = job.maxTokens,
    sampler = job.sampler,
    stop = job.stop,
    format = job.format,
    promptId = job.promptId,
    promptHash = job.promptHash,
    promptTokens = job.promptTokens,
    promptLength = job.promptLength,
    submitted = job.submitted,
    deadline = job.deadline,
    escrow = amount.text(job.escrow),
    seatPrice = amount.text(job.seatPrice),
    bond = amount.text(job.bond),
    seats = seats,
    agreed = job.agreed,
    finalAt = job.finalAt,
    refunded = optionalText(job.refunded),
    code = job.code,
  })
end

--- Marks the job as changed.
function jobs.changed(job)
  publish.changed('jobs', job.id, function() return encoded(job) end)
end

--- @param id string
--- @return string | nil JSON as published
function jobs.json(id)
  local job = state.jobs[id]
  return job and encoded(job) or state.archive[id]
end

--- The job with that id while anything can still happen to it, or a refusal `unknown-job` or `job-ended`.
--- @param id string
function jobs.get(id)
  local job = state.jobs[id]
  if job then return job end
  if state.archive[id] then refusal.raise('job-ended', 'The job has ended.') end
  refusal.raise('unknown-job', 'There is no job with this id.')
end

--- Gives the job a new deadline in place of the one it had.
--- @param span integer ms from now
function jobs.expire(job, span)
  job.deadline = clock.now() + span
  deadlines.add(job.deadline, 'job', { job = job.id })
end

local function referenceKey(requester, reference)
  return requester .. '|' .. reference
end

--- Opens a job: money is taken from `source` into its escrow and its seats are drawn by the next message.
--- @param job table as request.read gives it
--- @param id string
--- @param requester string
--- @param paidBy 'token' | 'account' where refunds go
--- @param fund fun(escrow: table) moves the money into the place of the escrow
function jobs.open(job, id, requester, paidBy, fund)
  if state.jobs[id] or state.archive[id] then refusal.raise('duplicate', 'A job has this id.') end
  local key = job.reference and referenceKey(requester, job.reference)
  if key and state.references[key] then
    refusal.raise('duplicate-reference', 'The reference was used for the job ' .. state.references[key] .. '.')
  end
  job.id, job.requester, job.paidBy = id, requester, paidBy
  job.escrow, job.refunded = amount.ZERO, amount.ZERO
  job.bond = job.verifiable
      and amount.max(parameters.seatBondFloor, job.seatPrice * amount.of(parameters.seatBondFactor))
    or amount.ZERO
  job.disputeBond = job.verifiable
      and amount.max(parameters.disputeBondFloor, job.seatPrice * amount.of(job.redundancy + 1))
    or amount.ZERO
  job.lock = job.verifiable and job.bond + job.seatPrice + job.disputeBond or amount.ZERO
  job.seats, job.answers, job.tokens, job.duties, job.disputes, job.closed = {}, {}, {}, 0, 0, {}
  job.redraws, job.auditDraws = 0, 0
  job.submitted = clock.now()
  job.state = 'submitted'
  job.roster = miners.roster(job.model)
  fund(ledger.escrow(job))
  state.jobs[id] = job
  models.enter(job)
  if key then state.references[key] = id end
  if job.prompt then publish.entry('prompts', id, job.prompt) end
  job.drawUntil = job.submitted + parameters.drawTimeout
  jobs.awaitDraw(job, 'seats')
  jobs.expire(job, parameters.drawTimeout)
  outbox.add(requester, { { 'Action', 'Job-Accepted' }, { 'Job', id }, { 'X-Reference', job.reference } })
  jobs.changed(job)
end

--- Asks for a draw with the hash chain of the next message.
--- @param purpose 'seats' | 'audit' | 'audit-seat'
function jobs.awaitDraw(job, purpose)
  if not job.awaiting then state.draws[#state.draws + 1] = job.id end
  job.awaiting = purpose
end

--- Gives what is left in escrow back to the requester, the way it came.
local function refund(job, code)
  local left = job.escrow
  if left == amount.ZERO then return end
  job.refunded = job.refunded + left
  if job.paidBy == 'account' then
    ledger.move(left, ledger.escrow(job), ledger.account(job.requester))
  else
    ledger.send(left, ledger.escrow(job), { purpose = 'refund', recipient = job.requester, owner = job.requester }, {
      { 'X-Action', 'Refund' }, { 'X-Job', job.id }, { 'X-Code', code }, { 'X-Reference', job.reference },
    })
  end
end

--- Pays every one of the seats for the answer of their one root and returns the rest.
--- @param seats table[] seats that revealed the same root
function jobs.pay(job, seats)
  local result = seats[1].result
  local wage = job.basePrice + job.tokenPrice * amount.of(result.count)
  for _, seat in ipairs(seats) do
    ledger.move(wage, ledger.escrow(job), ledger.account(seat.miner))
    seat.paid = wage
  end
  job.agreed = {
    resultRoot = seats[1].resultRoot,
    answerRoot = result.answerRoot,
    count = result.count,
    finish = result.finish,
    seats = #seats,
  }
  results.publish(job, result.answerRoot, job.answers[result.answerRoot])
  refund(job, 'unused')
end

--- Sends the answer to the requester.
function jobs.respond(job)
  local answer = job.answers[job.agreed.answerRoot]
  outbox.add(job.requester, {
    { 'Action', 'Infer-Response' },
    { 'Job', job.id },
    { 'X-Reference', job.reference },
    { 'Result-Root', job.agreed.resultRoot },
    { 'Final-At', tostring(job.finalAt) },
    { 'Seats', tostring(#job.seats) },
    { 'Agreed', tostring(job.agreed.seats) },
    { 'Verifiable', tostring(job.verifiable) },
    { 'Answer-Id', answer.id },
    { 'Answer-Size', answer.size and tostring(answer.size) },
  }, answer.text)
end

--- Releases what is left of a seat's lock; the seat owes nothing more.
function jobs.release(job, seat)
  if not seat.lock then return end
  miners.unlock(seat.miner, seat.lock)
  seat.lock = nil
  seatAnswers.drop(seat)
  job.duties = job.duties - 1
end

--- Keeps an ended job without duties as text only, until it is forgotten.
function jobs.retire(job)
  if not job.ended or job.duties > 0 or job.disputes > 0 or not state.jobs[job.id] then return end
  models.leave(job)
  results.dropTokens(job)
  state.jobs[job.id] = nil
  state.archive[job.id] = encoded(job)
  local key = job.reference and referenceKey(job.requester, job.reference)
  local entry = { job = job.id, key = key, disputes = job.closed }
  deadlines.add(clock.now() + parameters.retention, 'forget', entry)
end

deadlines.handle('forget', function(entry)
  for _ = 1, math.min(FORGET_BATCH, #entry.disputes) do
    publish.entry('disputes', table.remove(entry.disputes), '')
  end
  if #entry.disputes > 0 then
    deadlines.add(clock.now(), 'forget', entry)
    return true
  end
  state.archive[entry.job] = nil
  publish.entry('jobs', entry.job, '')
  publish.entry('answers', entry.job, '')
  if entry.key then state.references[entry.key] = nil end
  return true
end)

--- Ends the job: all unpaid money goes back and every seat without a duty is free.
--- @param last 'settled' | 'refunded' | 'expired' | 'cancelled' | 'void'
--- @param code string | nil why it was not paid
function jobs.finish(job, last, code)
  job.state, job.code, job.ended = last, code, true
  refund(job, code)
  assert(job.escrow == amount.ZERO, 'an ended job holds escrow')
  for _, seat in ipairs(job.seats) do
    if seat.state ~= 'late' then jobs.release(job, seat) end
    miners.rise(seat.miner)
  end
  if job.prompt then publish.entry('prompts', job.id, '') end
  job.roster, job.prompt, job.answers, job.awaiting = nil, nil, nil, nil
  local action = last == 'settled' and 'Job-Final' or 'Job-Failed'
  outbox.add(job.requester, {
    { 'Action', action },
    { 'Job', job.id },
    { 'X-Reference', job.reference },
    { 'Code', code },
    { 'Refunded', amount.text(job.refunded) },
    { 'Result-Root', job.agreed and job.agreed.resultRoot },
  })
  jobs.changed(job)
  jobs.retire(job)
end

return jobs
