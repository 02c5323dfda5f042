-- A new attempt, or a new owner, of a declared call: older epochs can no longer commit.
-- ARGV ..., call, the replica that runs it from now on
-- Returns the new epoch, or nil if nobody declared the call.
local known = call_of(ARGV[4])
if not known then
  return false
end
local epoch = string.format('%.0f', tonumber(known.epoch) + 1)
set_call(known.id, epoch, known.at, known.step, known.reads, known.outputs)
for _, name in ipairs(split(known.outputs)) do
  local row = row_of(name)
  if row and row.call == known.id and row.state == DECLARED then
    set_row(name, DECLARED, known.id, row.at, row.step, row.list, ARGV[5])
  end
end
finish({})
return epoch
