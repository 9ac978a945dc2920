--- Everything the network process remembers.
local amount = require('apus.codec.amount')

local state = {
  network = nil, -- id of this process
  clock = nil, -- { network, timestamp } in ms
  accounts = {}, -- address -> units
  miners = {}, -- address -> miner
  peers = {}, -- peer id -> address
  models = {}, -- model id -> model
  serving = {}, -- model id -> addresses of miners in order
  rosters = {}, -- model id -> roster, while it is current
  jobs = {}, -- job id -> job, until nothing can happen to it any more
  archive = {}, -- job id -> JSON text of an ended job
  references = {}, -- requester|reference -> job id
  draws = {}, -- ids of jobs that the next message draws for
  disputes = {}, -- dispute id -> open dispute
  disputeQueues = {}, -- address of an accused -> its running and waiting disputes
  seatAnswers = {}, -- job.accused.what -> what the accused answered
  deadlines = {}, -- heap
  setAside = { count = 0 }, -- moves that raised: how many, and the last one
  deadlineOrder = 0,
  pending = {}, -- transfer number -> { quantity, recipient, owner }
  transfers = 0, -- transfers sent so far
  pools = {}, -- sums of what the process holds, by purpose
  held = amount.ZERO, -- units that the token says are ours
  burnt = amount.ZERO, -- units burnt for good
}

for _, pool in ipairs({ 'accounts', 'escrow', 'stake', 'bonds', 'pending', 'burning' }) do
  state.pools[pool] = amount.ZERO
end

return state
