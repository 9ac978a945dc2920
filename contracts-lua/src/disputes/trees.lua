--- The trees that an accused can be made to show node by node, 1,024 nodes at a time (shared/src/protocol/dispute.ts).
local plan = require('apus.machine.plan')

local trees = {}

local MAX_NODES = 1024
--- Levels between what one answer shows and the next: 2^10 nodes lie under the picked one.
local STEP = 10

local ROOTS = { checkpoints = 'checkpointRoot', pages = 'kvRoot', answer = 'answerRoot' }

--- @param tree string checkpoints, pages or answer
--- @param seat table of the accused
--- @return string root base64url
function trees.root(tree, seat)
  return seat.result[ROOTS[tree]]
end

--- @param m table manifest
--- @return integer leaves of the tree
function trees.count(tree, job, seat, m)
  if tree == 'pages' then return plan.pageLeaves(m, job.promptLength + seat.result.count - 1) end
  return seat.result.count
end

local function width(count, level)
  return (count + (1 << level) - 1) >> level
end

--- The level that is shown first: the lowest one with at most 1,024 nodes.
function trees.first(count)
  local level = 0
  while width(count, level) > MAX_NODES do
    level = level + 1
  end
  return level
end

--- The level that is shown after this one.
function trees.below(level)
  return math.max(0, level - STEP)
end

--- How many nodes of a level are shown from node `first` on: all of the first level, later those under a node.
function trees.shown(count, level, first)
  local all, above = width(count, level), trees.first(count)
  if level == above then return all end
  while trees.below(above) > level do
    above = trees.below(above)
  end
  return math.min(all - first, 1 << above - level)
end

return trees
