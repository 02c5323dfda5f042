-- A call was refused before it was declared: what it was to produce fails, as far as nobody else produces or produced it.
-- ARGV ..., call ('' if it has no id), step, cause, variable_limit, what it was to produce, which of these are lists (by tab)
-- Returns the names that failed now.
local id, step, cause, variable_limit = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local is_list, names, at, room = {}, {}, now(), variable_limit - count_variables()
for _, name in ipairs(split(ARGV[9])) do
  is_list[name] = true
end
for _, name in ipairs(split(ARGV[8])) do
  local row, exists = holder_of(name)
  local is_free = not row and not exists and not (is_list[name] and holder_of(name .. '.0'))
  if is_free and room > 0 then
    set_row(name, FAILED, id, at, step, is_list[name], cause)
    names[#names + 1] = name
    room = room - 1
  end
end
if #names > 0 then
  finish(names)
end
return names
