-- Fails every variable of the session that has a producer but no value yet.
-- ARGV ..., the reason
-- Returns the producers' call ids.
local at, names, producers, seen = now(), {}, {}, {}
for _, name in ipairs(redis.call('HKEYS', vars)) do
  local row = name ~= VERSION_FIELD and row_of(name)
  if row and row.state == DECLARED then
    local cause = table.concat({ name, row.call, ARGV[4] }, '\31')
    set_row(name, FAILED, row.call, at, row.step, row.list, cause)
    names[#names + 1] = name
    if not seen[row.call] then
      seen[row.call] = true
      producers[#producers + 1] = row.call
    end
  end
end
if #names > 0 then
  finish(names)
end
return producers
