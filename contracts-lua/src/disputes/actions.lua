--- The actions of disputes.
local equivocation = require('apus.disputes.equivocation')
local moves = require('apus.disputes.moves')
local proofs = require('apus.disputes.proofs')

local actions = {}

actions['Open-Dispute'] = moves.open
actions['Answer-Level'] = moves.answerLevel
actions['Answer-Pages'] = moves.answerPages
actions['Answer-Stages'] = moves.answerStages
actions['Answer-Operations'] = moves.answerOperations
actions['Answer-Chunks'] = moves.answerChunks
actions['Pick-Node'] = moves.pickNode
actions['Pick-Row'] = moves.pickRow
actions['Pick-Stage'] = moves.pickStage
actions['Pick-Operation'] = moves.pickOperation
actions['Prove-Step'] = moves.proveStep
actions['Prove-Structure'] = proofs.structure
actions['Prove-Answer'] = proofs.answer
actions['Prove-Equivocation'] = equivocation

return actions
