--- A dispute from its opening to its end: the queue of the accused, whose turn it is and how long, and what its end
--- means. What the moves say is the affair of dispute-moves, money that of dispute-bonds.
local amount = require('apus.codec.amount')
local bonds = require('apus.disputes.bonds')
local clock = require('apus.state.clock')
local deadlines = require('apus.state.deadlines')
local jobs = require('apus.jobs.jobs')
local json = require('json')
local models = require('apus.registry.models')
local outbox = require('apus.aos.outbox')
local parameters = require('apus.state.parameters')
local penalties = require('apus.jobs.penalties')
local publish = require('apus.aos.publish')
local refusal = require('apus.intake.refusal')
local rounds = require('apus.jobs.rounds')
local state = require('apus.state.state')

local dispute = {}

--- Disputes of one accused that run at the same time.
local MAX_RUNNING = 4
--- Disputes that end with the conviction of the accused itself; each later move ends one more.
local MOOT_BATCH = 16

local function view(d)
  return function()
    return json.encode({
      id = d.id,
      job = d.job,
      accused = d.accused,
      challenger = d.challenger,
      state = d.state,
      bond = amount.text(d.bond),
      opened = d.opened,
      turn = d.turn,
      moves = d.moves,
      deadline = d.deadline,
      clocks = d.clocks,
      tree = d.tree,
      level = d.level,
      node = d.node,
      pages = d.pages,
      position = d.position,
      stage = d.stage,
      operation = d.operation,
      chunk = d.chunk,
    })
  end
end

local function changed(d)
  publish.changed('disputes', d.id, view(d))
end

local function queueOf(accused)
  local queue = state.disputeQueues[accused]
  if not queue then
    queue = { running = {}, waiting = 0, first = { from = 1, to = 0 }, later = { from = 1, to = 0 } }
    state.disputeQueues[accused] = queue
  end
  return queue
end

--- The seat of a job that a wallet has, or nil.
--- @return table | nil seat
--- @return integer | nil index
function dispute.seat(job, miner)
  for index, seat in ipairs(job.seats) do
    if seat.miner == miner then return seat, index end
  end
  return nil
end

-- Turns.

--- @param side 'accused' | 'challenger'
--- @param moves string[] actions that it may take
function dispute.turn(d, side, moves)
  d.turn, d.moves, d.began = side, moves, clock.now()
  d.deadline = d.began + d.clocks[side]
  deadlines.add(d.deadline, 'dispute', { dispute = d.id })
  changed(d)
end

--- The side whose turn it was has moved: it keeps the time it did not use, and gets some back.
function dispute.moved(d)
  local left = d.clocks[d.turn] - (clock.now() - d.began) + parameters.disputeIncrement
  d.clocks[d.turn] = math.min(parameters.disputeClock, left)
end

local asksFirst

--- @param ask fun(d: table) asks the first question of a dispute that begins to run
function dispute.begins(ask)
  asksFirst = ask
end

local function pop(queue)
  local list = queue.first.from <= queue.first.to and queue.first or queue.later
  local id = list[list.from]
  if not id then return nil end
  list[list.from] = nil
  list.from = list.from + 1
  return id
end

--- Whether nothing is left to decide: the accused is convicted, or the model void.
local function isMoot(d)
  local job = state.jobs[d.job]
  return dispute.seat(job, d.accused).slashed or models.isVoid(job.model)
end

--- Starts waiting disputes while the accused has fewer running than it must answer at a time.
local function startNext(accused)
  local queue = queueOf(accused)
  while #queue.running < MAX_RUNNING do
    local id = pop(queue)
    if not id then break end
    local d = state.disputes[id]
    if d and d.state == 'waiting' and not isMoot(d) then
      queue.waiting = queue.waiting - 1
      queue.running[#queue.running + 1] = id
      d.state = 'running'
      asksFirst(d)
    end
  end
  if #queue.running == 0 and queue.waiting == 0 then state.disputeQueues[accused] = nil end
end

--- The other running disputes about the same seat that ask what this one asks.
--- @return table[]
function dispute.asking(d)
  local found = {}
  for _, id in ipairs(queueOf(d.accused).running) do
    local other = state.disputes[id]
    if other ~= d and other.job == d.job and other.turn == 'accused' and other.asked == d.asked then
      found[#found + 1] = other
    end
  end
  return found
end

-- Ends.

local END_NOTICE = 'Dispute-Ended'

local function leave(queue, id)
  for i, running in ipairs(queue.running) do
    if running == id then return table.remove(queue.running, i) end
  end
end

local function close(d, last)
  local job, queue = state.jobs[d.job], queueOf(d.accused)
  local bond = d.bond
  if d.state == 'running' then
    leave(queue, d.id)
  else
    queue.waiting = queue.waiting - 1
  end
  if d.rival then d.rival.accusing = d.rival.accusing - 1 end
  if last == 'refuted' or last == 'abandoned' then
    bonds.lose(d)
  else
    bonds.giveBack(d, dispute.seat(job, d.challenger))
  end
  d.state, d.turn, d.moves, d.deadline = last, nil, nil, nil
  changed(d)
  for _, party in ipairs({ d.accused, d.challenger }) do
    outbox.add(party, {
      { 'Action', END_NOTICE }, { 'Dispute', d.id }, { 'Job', d.job }, { 'State', last }, { 'Bond', amount.text(bond) },
    })
  end
  state.disputes[d.id] = nil
  job.closed[#job.closed + 1] = d.id
  job.disputes = job.disputes - 1
  startNext(d.accused)
end

--- Ends listed disputes in one way, at most so many; returns how many.
local function endListed(list, last, most)
  local done = 0
  while list and #list > 0 and done < most do
    local d = state.disputes[table.remove(list)]
    if d then
      close(d, last)
      done = done + 1
    end
  end
  return done
end

local function isEmpty(list)
  return not list or #list == 0
end

--- Ends the disputes about a convicted seat, of which nothing is left to decide, and those in which it accuses others
--- of the same job: they would keep the honest from their pay until its clock ends.
local function closeOf(job, index, most)
  local seat = job.seats[index]
  local done = endListed(seat.disputes, 'moot', most)
  endListed(seat.accuses, 'abandoned', most - done)
  if not (isEmpty(seat.disputes) and isEmpty(seat.accuses)) then
    deadlines.add(clock.now(), 'moot', { job = job.id, seat = index })
  end
end

deadlines.handle('moot', function(entry)
  local job = state.jobs[entry.job]
  if not job then return false end
  closeOf(job, entry.seat, 1)
  rounds.resolve(job)
  return true
end)

--- Ends one dispute of a job whose model is void.
function dispute.endOne(job)
  for _, seat in ipairs(job.seats) do
    if not isEmpty(seat.disputes) then
      endListed(seat.disputes, 'moot', 1)
      break
    end
  end
  jobs.retire(job)
end

--- Takes a seat's bond and ends all disputes about it; `d`, if any, as the one that was won.
--- @param proof string | nil id of the message that proved the fault
local function convict(job, seat, prover, proof, d, last)
  local _, index = dispute.seat(job, seat.miner)
  seat.messages.proof = proof
  penalties.convict(job, seat, prover)
  if d then close(d, last) end
  closeOf(job, index, MOOT_BATCH)
  jobs.changed(job)
  rounds.resolve(job)
end

--- A seat is guilty by a proof in one message.
--- @param prover string address
--- @param proof string id of the message that holds it
function dispute.convict(job, seat, prover, proof)
  convict(job, seat, prover, proof)
end

--- The challenger has shown a fault, or the accused has not answered.
--- @param last 'proven' | 'silent'
--- @param proof string | nil id of the message that showed the fault
function dispute.won(d, last, proof)
  local job = state.jobs[d.job]
  convict(job, dispute.seat(job, d.accused), d.challenger, proof, d, last)
end

--- The challenger was wrong, or has not moved.
--- @param last 'refuted' | 'abandoned'
function dispute.lost(d, last)
  local job = state.jobs[d.job]
  close(d, last)
  rounds.resolve(job)
end

local function timeOut(d)
  if isMoot(d) then
    local job = state.jobs[d.job]
    rounds.touch(job)
    close(d, 'moot')
    return rounds.resolve(job)
  end
  if d.turn == 'accused' then return dispute.won(d, 'silent') end
  dispute.lost(d, 'abandoned')
end

deadlines.handle('dispute', function(entry)
  local d = state.disputes[entry.dispute]
  if not d or d.state ~= 'running' or d.deadline ~= entry.at then return false end
  timeOut(d)
  return true
end)

-- Opening and finding.

local function seatOf(job, accused, challenger)
  if not job.verifiable then
    refusal.raise('not-verifiable', 'Results of this class cannot be recomputed, so they cannot be disputed.')
  end
  local seat = dispute.seat(job, accused)
  if not seat then refusal.raise('not-revealed', 'The accused has no seat in this job.') end
  if seat.slashed then refusal.raise('already-convicted', 'This seat was convicted already.') end
  if accused == challenger then refusal.raise('own-seat', 'A wallet cannot accuse its own seat.') end
  return seat
end

local function mustBeOpen(job, seat)
  local ends = seat.state == 'late' and seat.disputableUntil or job.finalAt
  if not seat.lock or ends and ends <= clock.now() then
    refusal.raise('window-over', 'The time for disputes is over.')
  end
end

--- The seat whose result a challenger may accuse now, or a refusal.
--- @return table seat
function dispute.accuse(job, accused, challenger)
  rounds.touch(job)
  local seat = seatOf(job, accused, challenger)
  if not seat.result then refusal.raise('not-revealed', 'The accused has revealed nothing in this job.') end
  if seat.state ~= 'late' and job.state == 'revealing' then
    refusal.raise('too-early', 'A dispute can be opened only after all seats have revealed or are late.')
  end
  mustBeOpen(job, seat)
  return seat
end

--- The seat whose statements may be held against it now, revealed or still to be revealed, or a refusal.
--- @return table seat
function dispute.accuseSigner(job, accused, challenger)
  rounds.touch(job)
  local seat = seatOf(job, accused, challenger)
  if job.state == 'seated' or job.state == 'auditing' then
    refusal.raise('too-early', 'Equivocation can be proven only after all seats have committed.')
  end
  if not seat.commitment then refusal.raise('not-committed', 'The accused has committed to nothing in this job.') end
  if seat.result or not seat.lock then mustBeOpen(job, seat) end
  return seat
end

--- Opens a dispute: it runs at once when the accused has few enough, else it waits.
--- @param opening table { id, job, accused, challenger, position or pages or tree }
--- @param promptLength integer of the job, proven
function dispute.open(opening, job, seat, promptLength)
  if state.disputes[opening.id] then refusal.raise('duplicate', 'A dispute has this id.') end
  local d, queue = opening, queueOf(opening.accused)
  local own = dispute.seat(job, d.challenger)
  local rival = bonds.rival(seat, own)
  d.bond, d.opened, d.state = amount.ZERO, clock.now(), 'waiting'
  d.clocks = { accused = parameters.disputeClock, challenger = parameters.disputeClock }
  bonds.take(d, job, bonds.price(job, queue.waiting, rival), own)
  if rival then
    d.rival, rival.accusing = rival, (rival.accusing or 0) + 1
  end
  job.disputes = job.disputes + 1
  if not job.promptLength then
    job.promptLength = promptLength
    jobs.changed(job)
  end
  seat.disputes = seat.disputes or {}
  seat.disputes[#seat.disputes + 1] = d.id
  state.disputes[d.id] = d
  if own then
    own.accuses = own.accuses or {}
    own.accuses[#own.accuses + 1] = d.id
  end
  local list = rival and queue.first or queue.later
  list.to = list.to + 1
  list[list.to] = d.id
  queue.waiting = queue.waiting + 1
  changed(d)
  for _, party in ipairs({ d.accused, d.challenger }) do
    outbox.add(party, {
      { 'Action', 'Dispute-Opened' }, { 'Dispute', d.id }, { 'Job', d.job }, { 'Accused', d.accused },
      { 'Challenger', d.challenger }, { 'Bond', amount.text(d.bond) },
    })
  end
  startNext(d.accused)
end

--- The open dispute in which this wallet must make this move now, or a refusal.
--- @param id string
--- @param from string
--- @param move string action
--- @return table dispute
--- @return table job
--- @return table seat of the accused
function dispute.due(id, from, move)
  local d = state.disputes[id]
  if d and (isMoot(d) or d.state == 'running' and d.deadline <= clock.now()) then
    timeOut(d)
    d = nil
  end
  if not d then refusal.raise('unknown-dispute', 'No dispute with this id is open.') end
  local job = state.jobs[d.job]
  local seat = dispute.seat(job, d.accused)
  if d.state == 'waiting' then
    refusal.raise('dispute-waits', 'The dispute waits until other disputes about the accused have ended.')
  end
  local isDue = false
  for _, allowed in ipairs(d.moves) do
    isDue = isDue or allowed == move
  end
  if d[d.turn] ~= from or not isDue then
    refusal.raise('not-your-move', 'It is the turn of the ' .. d.turn .. ': ' .. table.concat(d.moves, ' or ') .. '.')
  end
  return d, job, seat
end

return dispute
