-- Health of an InstanceDeletion for Argo CD. Its status follows kstatus; Argo CD needs this script to know it: without
-- one every custom resource counts as healthy at once, and a sync wave does not wait.
-- Argo CD runs it with the base and table libraries alone, for at most a second.

local function answer(status, message)
  return {status = status, message = message}
end

local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return answer("Progressing", "waiting for the controller to see this generation")
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local function is_true(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

local ready = conditions.Ready or {message = "waiting for the first status"}
if is_true("Stalled") then
  return answer("Degraded", conditions.Stalled.message)
end
if is_true("Reconciling") then
  return answer("Progressing", ready.message)
end
if is_true("Ready") then
  return answer("Healthy", ready.message)
end
-- At rest before its end: suspended, held, planned, or at its limit. It waits for a person.
if ready.status == "False" then
  return answer("Suspended", ready.message)
end
return answer("Progressing", ready.message)
