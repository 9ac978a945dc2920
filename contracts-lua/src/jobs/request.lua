--- What a requester asks for: read from the tags and data of Submit-Job, checked, with every default filled in.
local amount = require('apus.codec.amount')
local check = require('apus.intake.check')
local digest = require('apus.codec.digest')
local encoding = require('apus.codec.encoding')
local models = require('apus.registry.models')
local parameters = require('apus.state.parameters')
local refusal = require('apus.intake.refusal')

local request = {}

local Q16_ONE = 65536
--- Least temperature that is not greedy.
local MIN_TEMPERATURE = 655
--- Sampler fields in their canonical order: name, least, most, default (shared/src/protocol/sampler.ts).
local SAMPLER = {
  { 'temperature', 0, 4 * Q16_ONE, 0 },
  { 'topK', 0, 1024, 0 },
  { 'topP', 1, Q16_ONE, Q16_ONE },
  { 'repeatPenalty', Q16_ONE, 4 * Q16_ONE, Q16_ONE },
  { 'frequencyPenalty', -2 * Q16_ONE, 2 * Q16_ONE, 0 },
  { 'presencePenalty', -2 * Q16_ONE, 2 * Q16_ONE, 0 },
  { 'penaltyWindow', 0, 64, 64 },
  { 'seed', 0, 0xffffffff, 0 },
}
local FORMATS = { text = true, raw = true, chat = true }
local DELIVERIES = { Agreed = true, Final = true }
local MAX_STOPS = 4
local MAX_STOP_LENGTH = 64
local MAX_REFERENCE = 128

local function sampler(text)
  local given = text and check.json(text) or {}
  if text and not check.json(text) then refusal.raise('bad-sampler', 'The sampler must be a JSON object.') end
  local settings, line, known = {}, {}, {}
  for i, field in ipairs(SAMPLER) do
    local name, least, most, default = table.unpack(field)
    local value = given[name] == nil and default or given[name]
    value = type(value) == 'number' and math.tointeger(value)
    if not value or value < least or value > most then
      refusal.raise('bad-sampler', 'The sampler field ' .. name .. ' must be a whole number from ' .. least .. ' to '
        .. most .. '.')
    end
    settings[name], line[i], known[name] = value, tostring(value), true
  end
  if settings.temperature > 0 and settings.temperature < MIN_TEMPERATURE then
    refusal.raise('bad-sampler', 'The sampler field temperature must be 0 or at least ' .. MIN_TEMPERATURE .. '.')
  end
  for name in pairs(given) do
    if not known[name] then refusal.raise('bad-sampler', 'The sampler has an unknown field.') end
  end
  return settings, table.concat(line, ',')
end

local function stops(text)
  if not text then return {} end
  local list = check.list(check.json(text))
  if not list or #list > MAX_STOPS then
    refusal.raise('bad-stop', 'Stop must be a JSON array of at most ' .. MAX_STOPS .. ' strings.')
  end
  for _, stop in ipairs(list) do
    local length = type(stop) == 'string' and encoding.utf16Length(stop)
    if not length or length < 1 or length > MAX_STOP_LENGTH then
      refusal.raise('bad-stop', 'Each stop string has 1 to ' .. MAX_STOP_LENGTH .. ' characters.')
    end
  end
  return list
end

local function isChat(text)
  local list = check.list(check.json(text))
  if not list or #list == 0 then return false end
  for _, turn in ipairs(list) do
    if type(turn) ~= 'table' or type(turn.role) ~= 'string' or type(turn.content) ~= 'string' then return false end
  end
  return true
end

--- @return string | nil prompt
--- @return string | nil id of the data item that holds it
--- @return string hash
local function promptOf(read, data, format)
  local hash = check.optionalId(read, 'Prompt-Hash')
  local id = not read.Prompt and check.optionalId(read, 'Prompt-Id') or nil
  if id then
    if not hash then refusal.raise('bad-tag', 'The tag Prompt-Id needs the tag Prompt-Hash.') end
    return nil, id, hash
  end
  local prompt = read.Prompt or data
  if #prompt == 0 then refusal.raise('no-prompt', 'There is no prompt.') end
  if #prompt > parameters.maxPrompt then
    refusal.raise('prompt-too-large', 'A prompt sent in a message has at most ' .. parameters.maxPrompt .. ' bytes.')
  end
  if not utf8.len(prompt) then refusal.raise('bad-prompt', 'The prompt is not UTF-8.') end
  if format == 'chat' and not isChat(prompt) then
    refusal.raise('bad-prompt', 'A chat prompt is a JSON array of {role, content}.')
  end
  local own = digest.of('apus/prompt', prompt)
  if hash and hash ~= own then refusal.raise('bad-prompt', 'Prompt-Hash is not the hash of the prompt.') end
  return prompt, nil, own
end

--- The job that the tags and data ask for, or a refusal.
--- @param read table<string, string> tags without their X-
--- @param data string
--- @return table job without id, requester and escrow
--- @return table price the least escrow
function request.read(read, data)
  local model = models.listed(check.id(read, 'Model'))
  local maxTokens = check.integer(read, 'Max-Tokens', 1, math.min(parameters.maxTokens, model.maxContext))
  local redundancy = check.integer(read, 'Redundancy', 1, parameters.maxRedundancy, parameters.redundancy)
  local settings, line = sampler(read.Sampler)
  local stop = stops(read.Stop)
  local format = check.choice(read, 'Format', FORMATS, 'text')
  local deliver = check.choice(read, 'Deliver', DELIVERIES, 'Agreed')
  local reference = read.Reference and check.text(read, 'Reference', MAX_REFERENCE)
  local promptTokens = check.optionalId(read, 'Prompt-Tokens')
  local prompt, promptId, promptHash = promptOf(read, data, format)
  local seatPrice = model.basePrice + model.tokenPrice * amount.of(maxTokens)
  local places = model.verifiable and redundancy + 1 or redundancy
  return {
    reference = reference,
    model = model.id,
    class = model.class,
    verifiable = model.verifiable,
    redundancy = redundancy,
    maxTokens = maxTokens,
    sampler = settings,
    stop = stop,
    settings = digest.of('apus/settings', line, digest.of('apus/stop', table.unpack(stop)), tostring(maxTokens)),
    format = format,
    deliver = deliver,
    prompt = prompt,
    promptId = promptId,
    promptHash = promptHash,
    promptTokens = promptTokens,
    basePrice = model.basePrice,
    tokenPrice = model.tokenPrice,
    seatPrice = seatPrice,
  }, seatPrice * amount.of(places)
end

--- The tags of a request with X- before each name, as a money notice carries them.
--- @param tags table<string, string>
--- @return table<string, string>
function request.forwarded(tags)
  local read = {}
  for name, value in pairs(tags) do
    if name:sub(1, 2) == 'X-' then read[name:sub(3)] = value end
  end
  return read
end

--- The tags of a direct request: with or without X-, X- first.
--- @param tags table<string, string>
--- @return table<string, string>
function request.direct(tags)
  local read = request.forwarded(tags)
  for name, value in pairs(tags) do
    if read[name] == nil then read[name] = value end
  end
  return read
end

return request
