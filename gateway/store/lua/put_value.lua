-- Gives a variable its value from outside, once. The same value again changes nothing.
-- ARGV ..., name, kind, 1 if truncated, text, variable_limit
-- Returns 'put'; or 'taken', name, call ('' for outside), at, state, step, its replica; or 'refused', kind.
local name, kind, truncated, text, variable_limit = unpack(ARGV, 4, 8)
local row, exists = holder_of(name)
if row then
  local again = row.name == name and row.call == '' and redis.call('HGET', values, name) == text
  return again and { 'put' } or taken(row, name)
end
if not exists and count_variables() >= tonumber(variable_limit) then
  return { 'refused', 'too_many_variables' }
end
set_row(name, VALUE, '', now(), '', false, '0', kind, truncated, #text)
redis.call('HSET', values, name, text)
finish({ name }, { values })
return { 'put' }
