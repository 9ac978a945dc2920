--- What an evaluation sends. Modules add messages here; the host alone hands them to ao.
local outbox = {}

local queue = {}

--- @param target string
--- @param tags table list of { name, value } pairs; pairs without a value are left out
--- @param data string | nil
function outbox.add(target, tags, data)
  local list = {}
  for _, tag in ipairs(tags) do
    if tag[2] ~= nil then list[#list + 1] = { name = tag[1], value = tag[2] } end
  end
  queue[#queue + 1] = { Target = target, Tags = list, Data = data or '' }
end

--- @param input table the message that is refused
--- @param code string
--- @param sentence string
function outbox.refuse(input, code, sentence)
  outbox.add(input.from, {
    { 'Action', 'Error' },
    { 'Code', code },
    { 'Failed-Action', input.tags.Action },
    { 'Message-Id', input.id },
    { 'X-Reference', input.tags['X-Reference'] or input.tags.Reference },
  }, sentence)
end

--- Empties the queue.
--- @return table messages
function outbox.take()
  local messages = queue
  queue = {}
  return messages
end

return outbox
