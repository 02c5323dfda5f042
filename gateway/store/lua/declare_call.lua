-- Declares a call with what it reads and produces: everything or nothing. Declaring it again changes nothing, but
-- for outputs that failed meanwhile: they are declared anew under a higher epoch.
-- ARGV ..., call, step, at, variable_limit, call_limit, reader_limit, depth_limit, visit_limit,
--      what it reads, what it produces, which of these are lists (by tab), the replica that runs it,
--      dead replicas (by tab): what calls that are not deferred left declared there is this call's from now on
-- KEYS ..., deferred, if there are dead replicas
-- Returns 'declared', epoch, 1 if a call declared before reads what it produces; or 'taken', name, call, at, state,
-- step, its replica; or 'refused', kind, names on the path.
local id, step, at = ARGV[4], ARGV[5], ARGV[6]
local variable_limit, call_limit, reader_limit = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local depth_limit, visit_limit = tonumber(ARGV[10]), tonumber(ARGV[11])
local reads, outputs = split(ARGV[12]), split(ARGV[13])
local is_list, is_output, is_read, is_dead = {}, {}, {}, {}
for _, replica in ipairs(split(ARGV[16])) do
  is_dead[replica] = true
end
for _, name in ipairs(split(ARGV[14])) do
  is_list[name] = true
end
for _, name in ipairs(outputs) do
  is_output[name] = true
end
for _, name in ipairs(reads) do
  is_read[name] = 'itself'
  is_read[list_of(name) or name] = is_read[list_of(name) or name] or 'an item'
end

local function refused(kind, names)
  return { 'refused', kind, unpack(names or {}) }
end

local function is_read_by_others()
  for _, name in ipairs(outputs) do
    if #redis.call('ZRANGEBYLEX', readers, '[' .. name .. '\n', '(' .. name .. '\11', 'LIMIT', 0, 1) > 0 then
      return '1'
    end
    local items = '[' .. name .. '.'
    if is_list[name] and #redis.call('ZRANGEBYLEX', readers, items, '(' .. name .. '/', 'LIMIT', 0, 1) > 0 then
      return '1'
    end
  end
  return '0'
end

local function is_left_behind(row)
  return row and row.state == DECLARED and is_dead[row.rest] and redis.call('HEXISTS', KEYS[6], row.call) == 0
end

local known = call_of(id)
if known and (known.reads ~= ARGV[12] or known.outputs ~= ARGV[13]) then
  return refused('changed')
end

local fresh, ahead, added = {}, {}, 0
for _, name in ipairs(outputs) do
  local first = name .. '.0'
  local row, exists = holder_of(name)
  local of = name
  if is_left_behind(row) then
    row = nil
  end
  if not row and is_list[name] then
    row, of = holder_of(first), first
  end
  if row and row.call ~= id then
    return taken(row, of)
  end
  if not row or row.state == DECLARED then
    ahead[name] = is_list[name] or false
  end
  if not row then
    fresh[#fresh + 1] = name
    added = added + (exists and 0 or 1)
  end
end
if known and #fresh == 0 then
  finish({})
  return { 'declared', known.epoch, is_read_by_others() }
end

for _, name in ipairs(reads) do
  if is_output[name] or is_list[list_of(name) or ''] then
    return refused('self', { name })
  end
end
if added > 0 and count_variables() + added > variable_limit then
  return refused('too_many_variables')
end
local call_count = known and 1 or redis.call('HLEN', calls)
if not known and call_count >= call_limit then
  return refused('too_many_calls')
end
if #reads > 0 and redis.call('ZCARD', readers) + #reads > reader_limit then
  return refused('too_many_readers')
end

-- The graph. `depths` holds for each call at least the length of the chain of unfinished producers that ends in it, so
-- a chain through the new call is found by raising the depths of those that come after it, and nothing else is visited.
local visits = 0

local function producer_of(name)
  local row = holder_of(name)
  return row and row.state == DECLARED and row.call or nil
end

local function depth_of(call)
  return tonumber(redis.call('HGET', depths, call) or 1)
end

-- At least the length of the chain of producers that ends in the new call.
local function estimate_depth()
  local depth = 1
  for _, name in ipairs(reads) do
    local producer = producer_of(name)
    if producer then
      depth = math.max(depth, 1 + depth_of(producer))
    end
  end
  return depth
end

-- The producers of what these calls read, each once; `steps` remembers which name led to each.
local function producers_of(level, steps)
  local found, seen = {}, {}
  for _, from in ipairs(level) do
    for _, name in ipairs(from == id and reads or split(call_of(from).reads)) do
      visits = visits + 1
      if visits > visit_limit then
        return found
      end
      local producer = producer_of(name)
      if producer and not seen[producer] then
        seen[producer] = true
        found[#found + 1] = producer
        steps[producer] = { name, from }
      end
    end
  end
  return found
end

-- Exactly that length; nil if it is over the limit, with the names on the way.
local function measure_depth()
  local depth, level, steps = 0, { id }, {}
  while #level > 0 do
    depth = depth + 1
    if depth > depth_limit or visits > visit_limit then
      local names, at_call = {}, level[1]
      while at_call ~= id do
        names[#names + 1] = steps[at_call][1]
        at_call = steps[at_call][2]
      end
      return nil, depth > depth_limit and 'too_deep' or 'too_large', names
    end
    level = producers_of(level, steps)
  end
  return depth
end

-- The calls that read a name, or an item of it.
local function readers_of(name, list)
  local function between(first, last)
    return redis.call('ZRANGEBYLEX', readers, '[' .. name .. first, '(' .. name .. last, 'LIMIT', 0, visit_limit + 1)
  end
  local found = between('\n', '\11')
  if list then
    for _, member in ipairs(between('.', '/')) do
      if string.match(member, '^%d+\n', #name + 2) then
        found[#found + 1] = member
      end
    end
  end
  return found
end

-- What a call has yet to produce, as name -> whether it is a list.
local function pending_of(call)
  local pending = {}
  if call == id then
    return ahead
  end
  local head = DECLARED .. '\n' .. call .. '\n'
  for _, name in ipairs(split(call_of(call).outputs)) do
    visits = visits + 1
    local text = redis.call('HGET', vars, name)
    if text and string.sub(text, 1, #head) == head then
      pending[name] = string.match(text, '^.-\n.-\n([01])', #head + 1) == '1'
    end
  end
  return pending
end

local function path_to(call, name, steps)
  local names = { name }
  while call ~= id do
    table.insert(names, 1, steps[call][1])
    call = steps[call][2]
  end
  return names
end

-- The new depths of all calls after the new one; nil if there is a cycle or too long a chain, with the names on it.
local function raise_depths(depth)
  local raised, steps, level, too_long = { [id] = depth }, {}, { id }, nil
  while #level > 0 do
    depth = depth + 1
    local after = {}
    for _, from in ipairs(level) do
      for name, list in pairs(pending_of(from)) do
        if is_read[name] == 'itself' or (list and is_read[name]) then
          return nil, 'cycle', path_to(from, name, steps)
        end
        for _, member in ipairs(readers_of(name, list)) do
          local reader = string.match(member, '[^\n]*$')
          visits = visits + 1
          if visits > visit_limit then
            return nil, 'too_large', {}
          end
          if (raised[reader] or depth_of(reader)) < depth then
            if depth > depth_limit then
              too_long = too_long or path_to(from, name, steps)
            end
            raised[reader], steps[reader] = depth, { name, from }
            after[#after + 1] = reader
          end
        end
      end
    end
    level = after
  end
  if too_long then
    return nil, 'too_deep', too_long
  end
  return raised
end

local depth = estimate_depth()
local raised, kind, path = raise_depths(depth)
if kind == 'too_deep' or raised and depth > depth_limit then
  visits, raised = 0, nil
  depth, kind, path = measure_depth()
  if depth then
    visits = 0
    raised, kind, path = raise_depths(depth)
  end
end
if not raised then
  return refused(kind, path)
end

local epoch = known and string.format('%.0f', tonumber(known.epoch) + 1) or '1'
local fresh_keys = {}
if #fresh == 0 then
  redis.call('HSET', vars, VERSION_FIELD, SCHEMA)
end
for _, name in ipairs(fresh) do
  set_row(name, DECLARED, id, at, step, is_list[name], ARGV[15])
end
for _, name in ipairs(reads) do
  redis.call('ZADD', readers, 0, name .. '\n' .. id)
  fresh_keys = { readers }
end
-- A call without an entry stands at depth 1.
local pairs_of_depths = {}
for call, value in pairs(raised) do
  if value > 1 or known then
    pairs_of_depths[#pairs_of_depths + 1] = call
    pairs_of_depths[#pairs_of_depths + 1] = value
  end
end
if #pairs_of_depths > 0 then
  fresh_keys[#fresh_keys + 1] = depths
end
if call_count == 0 then
  fresh_keys[#fresh_keys + 1] = calls
end
for from = 1, #pairs_of_depths, 1000 do
  redis.call('HSET', depths, unpack(pairs_of_depths, from, math.min(from + 999, #pairs_of_depths)))
end
set_call(id, epoch, at, step, ARGV[12], ARGV[13])
finish(fresh, fresh_keys)
return { 'declared', epoch, is_read_by_others() }
