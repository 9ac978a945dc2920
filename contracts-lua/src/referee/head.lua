--- Steps of the head behind the logits: scores, thresholds, choice and stop. Checks give 1 or have no legal output.
local numbers = require('apus.machine.numbers')
local plan = require('apus.machine.plan')
local sampler = require('apus.machine.sampler')
local sizes = require('apus.machine.sizes')
local stop = require('apus.machine.stop')

local LEAF_VALUES, OPERATION_VALUES, TILE = sizes.LEAF_VALUES, sizes.OPERATION_VALUES, sizes.TILE_TOKENS
local TILES = OPERATION_VALUES // TILE

local steps = {}

local function integers(leaf)
  return numbers.readI32(leaf, 1, #leaf // 4)
end

local function scoresOf(read, tile)
  return integers(read:value('scores.' .. tile // TILES, tile % TILES, 1)[1])
end

local function ranked(read, name)
  return sampler.ranked(read:value(name, 0, 1)[1])
end

--- The score of a token that an operation names, or nil when there is no such token.
local function scoreOf(read, token)
  if token.index >= read.manifest.vocab then return nil end
  return scoresOf(read, token.index // TILE)[token.index % TILE + 1]
end

--- The last token that top-k keeps, when it is used.
local function topK(read)
  return plan.usesTopK(read.manifest, read.step.job.sampler) and ranked(read, 'topk.tau') or nil
end

steps['scores'] = function(read, operation, chunk)
  local position, settings = read.step.position, read.step.job.sampler
  local name = 'logits.' .. operation.from // OPERATION_VALUES
  local logits = integers(read:value(name, chunk, 1)[1])
  local window = settings.penaltyWindow
  local recent = window > 0 and read:tokens(math.max(0, position + 1 - window), position) or {}
  return numbers.writeI32(sampler.scores(logits, operation.from + chunk * LEAF_VALUES, settings, recent))
end

steps['max.tile'] = function(read, _, tile)
  return sampler.max(scoresOf(read, tile), tile * TILE)
end

steps['best'] = function(read, operation)
  return sampler.best(read:value(operation.tiles, 0, 1)[1])
end

steps['topk.count'] = function(read, _, tile)
  return sampler.count(scoresOf(read, tile), tile * TILE, ranked(read, 'topk.tau'))
end

steps['topk.check'] = function(read)
  local counts, token = read:value('topk.count', 0, 1)[1], ranked(read, 'topk.tau')
  local z = scoreOf(read, token)
  return z and sampler.isTopK(counts, token, z, read.step.job.sampler.topK) and '\1' or nil
end

steps['topp.mass'] = function(read, _, tile)
  local z, most = scoresOf(read, tile), ranked(read, 'max')
  return sampler.mass(z, tile * TILE, most.value, topK(read))
end

steps['topp.before'] = function(read, _, tile)
  local z, most, token = scoresOf(read, tile), ranked(read, 'max'), ranked(read, 'topp.tau')
  return sampler.massBefore(z, tile * TILE, most.value, topK(read), token)
end

steps['topp.check'] = function(read)
  local masses, befores = read:value('topp.mass', 0, 1)[1], read:value('topp.before', 0, 1)[1]
  local most, token = ranked(read, 'max'), ranked(read, 'topp.tau')
  local z, last = scoreOf(read, token), topK(read)
  local topP = read.step.job.sampler.topP
  return z and sampler.isTopP(masses, befores, most.value, last, token, z, topP) and '\1' or nil
end

steps['pick.tile'] = function(read, _, tile)
  local job = read.step.job
  local z, lasts = scoresOf(read, tile), { topK(read) }
  if plan.usesTopP(job.sampler) then lasts[#lasts + 1] = ranked(read, 'topp.tau') end
  return sampler.pick(z, tile * TILE, lasts, sampler.noiseKey(job.id, job.sampler.seed), read.step.position + 1)
end

steps['stop'] = function(read)
  local m, job = read.manifest, read.step.job
  local n = read.step.position + 1 - job.promptLength
  local token = ranked(read, job.sampler.temperature > 0 and 'pick' or 'max').index
  local pieces = #job.stop > 0 and read:pieces(math.max(0, n - stop.LOOKBACK + 1), n) or {}
  local rules = { tokens = m.stop, strings = job.stop, maximum = job.maxTokens, context = m.context }
  return string.pack('<I4I1', token, stop.flag(rules, token, n, job.promptLength, pieces))
end

return steps
