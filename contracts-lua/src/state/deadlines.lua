--- What becomes due when: a binary heap over network time. An entry that no longer applies is left in place and
--- skipped by its own handler. A move that raises is set aside.
local attempt = require('apus.state.attempt')
local state = require('apus.state.state')

local deadlines = {}

--- Overdue moves made by one message, so that no flood of deadlines can exhaust an evaluation.
local MAX_MOVES = 16
--- Entries looked at by one message, stale ones included.
local MAX_LOOKS = 64

local handlers = {}

local function before(a, b)
  if a.at ~= b.at then return a.at < b.at end
  return a.order < b.order
end

local function push(heap, entry)
  local i = #heap + 1
  while i > 1 do
    local parent = i // 2
    if not before(entry, heap[parent]) then break end
    heap[i] = heap[parent]
    i = parent
  end
  heap[i] = entry
end

local function pop(heap)
  local top, last = heap[1], heap[#heap]
  heap[#heap] = nil
  local size = #heap
  if size == 0 then return top end
  local i = 1
  while true do
    local child = i * 2
    if child > size then break end
    if child < size and before(heap[child + 1], heap[child]) then child = child + 1 end
    if not before(heap[child], last) then break end
    heap[i] = heap[child]
    i = child
  end
  heap[i] = last
  return top
end

--- @param kind string
--- @param handler fun(entry: table): boolean whether a move was made; it checks that the entry still applies
function deadlines.handle(kind, handler)
  handlers[kind] = handler
end

--- @return string[] all kinds, in order
function deadlines.kinds()
  local kinds = {}
  for kind in pairs(handlers) do
    kinds[#kinds + 1] = kind
  end
  table.sort(kinds)
  return kinds
end

--- @param at integer network time in ms
--- @param kind string
--- @param entry table what the handler needs; it becomes the heap's own
function deadlines.add(at, kind, entry)
  state.deadlineOrder = state.deadlineOrder + 1
  entry.at, entry.order, entry.kind = at, state.deadlineOrder, kind
  push(state.deadlines, entry)
end

--- Makes overdue moves, at most `limit` (and never more than 16).
--- @param now integer network time in ms
--- @param limit integer | nil
--- @return integer moves made
function deadlines.run(now, limit)
  local moves, looks = 0, 0
  local most = math.min(limit or MAX_MOVES, MAX_MOVES)
  local heap = state.deadlines
  while moves < most and looks < MAX_LOOKS and heap[1] and heap[1].at <= now do
    local entry = pop(heap)
    looks = looks + 1
    local moved = attempt(entry.kind, entry.job or entry.dispute or entry.miner or entry.model, function()
      return handlers[entry.kind](entry)
    end)
    if moved ~= false then moves = moves + 1 end
  end
  return moves
end

return deadlines
