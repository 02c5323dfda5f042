-- The replica that ran a call is dead: what the call has not committed fails, and what that replica may still write
-- of it is refused.
-- KEYS ..., deferred
-- ARGV ..., call, the replica, reason
-- Returns the names that failed now: none if another replica runs the call, or if it is deferred: then its lease
-- says who runs it.
local id, owner, reason = ARGV[4], ARGV[5], ARGV[6]
local known = call_of(id)
if not known or redis.call('HEXISTS', KEYS[6], id) == 1 then
  return {}
end
local at, names = now(), {}
for _, name in ipairs(split(known.outputs)) do
  local row = row_of(name)
  if row and row.call == id and row.state == DECLARED and row.rest == owner then
    set_row(name, FAILED, id, at, known.step, row.list, table.concat({ name, id, reason }, '\31'))
    names[#names + 1] = name
  end
end
if #names > 0 then
  set_call(id, string.format('%.0f', tonumber(known.epoch) + 1), known.at, known.step, known.reads, known.outputs)
  finish(names)
end
return names
