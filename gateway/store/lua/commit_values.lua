-- Gives values to variables of one call, all or none, each once. The same values again change nothing.
-- ARGV ..., call, epoch, variable_limit, then for each value: name, kind, 1 if truncated, text
-- Returns 'committed', at; or 'fenced', name, call that holds it, its epoch, state; or 'refused', kind.
local id, epoch, variable_limit = ARGV[4], ARGV[5], tonumber(ARGV[6])
local known = call_of(id)

local function fenced(name, row)
  local holder = known
  if row and row.call ~= id then
    holder = call_of(row.call)
  end
  return { 'fenced', name, row and row.call or id, holder and holder.epoch or '0', row and row.state or '' }
end

if not known or known.epoch ~= epoch then
  return fenced(ARGV[7], row_of(ARGV[7]))
end

local function is_same(row, name, kind, truncated, text)
  local _, kind_then, truncated_then = string.match(row.rest, '^(.-)\n(.-)\n(.-)\n')
  return kind == kind_then and truncated == truncated_then and redis.call('HGET', values, name) == text
end

local fresh, rows, added, committed_at = {}, {}, 0, nil
for i = 7, #ARGV, 4 do
  local name, kind, truncated, text = unpack(ARGV, i, i + 3)
  local row = row_of(name)
  local is_mine = row and row.call == id
  if is_mine and row.state == VALUE then
    if not is_same(row, name, kind, truncated, text) then
      return fenced(name, row)
    end
    committed_at = row.at
  else
    if not is_mine and (not row or row.state == FAILED) then
      local list = list_of(name)
      local above = list and row_of(list)
      is_mine = above and above.call == id and above.state == DECLARED
    elseif is_mine then
      is_mine = row.state == DECLARED
    end
    if not is_mine then
      return fenced(name, row)
    end
    fresh[#fresh + 1] = i
    rows[i] = row
    added = added + (row and 0 or 1)
  end
end
if added > 0 and count_variables() + added > variable_limit then
  return { 'refused', 'too_many_variables' }
end

local at, names = now(), {}
for _, i in ipairs(fresh) do
  local name, kind, truncated, text = unpack(ARGV, i, i + 3)
  local row = rows[i]
  local is_list = row and row.call == id and row.list
  set_row(name, VALUE, id, at, known.step, is_list, epoch, kind, truncated, #text)
  redis.call('HSET', values, name, text)
  names[#names + 1] = name
end
finish(names, { values })
return { 'committed', #fresh > 0 and at or committed_at or at }
