-- A new attempt, or a new owner, of a declared call: older epochs can no longer commit.
-- ARGV ..., call
-- Returns the new epoch, or nil if nobody declared the call.
local known = call_of(ARGV[4])
if not known then
  return false
end
local epoch = string.format('%.0f', tonumber(known.epoch) + 1)
set_call(known.id, epoch, known.at, known.step, known.reads, known.outputs)
finish({})
return epoch
