--- A refusal is an ordinary answer: the request changes nothing and its sender learns the code. Anything else that is
--- raised is a broken invariant and discards the whole evaluation.
local refusal = {}

local Refusal = {}

--- Raises a refusal; only before anything was changed.
--- @param code string
--- @param sentence string
function refusal.raise(code, sentence)
  error(setmetatable({ code = code, sentence = sentence }, Refusal), 0)
end

--- Runs the action; returns the refusal it raised, if any.
--- @param action fun(...)
--- @return table | nil refusal { code, sentence }
function refusal.catch(action, ...)
  local done, raised = pcall(action, ...)
  if done then return nil end
  if getmetatable(raised) == Refusal then return raised end
  error(raised, 0)
end

return refusal
