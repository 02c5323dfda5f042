-- Goes between the preamble and each script of variables. A script gets all keys of one session's variables:
-- KEYS vars, values, calls, readers, depths
-- ARGV schema, ttl_s, channel, then its own.
-- A variable's row, by line: state, call, at, step, 1 if a list; then of a value: epoch, kind, 1 if truncated, bytes,
-- of a failed one: the cause; of a declared one: the replica that runs its producer. A call's row, by line: epoch, at, step, what it reads, what it produces (by tab).
-- The item `files.3` of the list `files` belongs to the list's producer until it has a row of its own.
local vars, values, calls, readers, depths = unpack(KEYS)
local DECLARED, VALUE, FAILED = 'd', 'v', 'f'
local VERSION_FIELD = '%v'
local NAMES_A_MESSAGE = 500
local version = redis.call('HGET', vars, VERSION_FIELD)
if is_unknown(version) then
  return unknown('variables', version)
end

local function row_of(name)
  local text = redis.call('HGET', vars, name)
  if not text then
    return nil
  end
  local state, call, at, step, list, rest = string.match(text, '^(%a)\n(.-)\n(.-)\n(.-)\n([01])\n?(.*)$')
  return { name = name, state = state, call = call, at = at, step = step, list = list == '1', rest = rest }
end

local function list_of(name)
  return string.match(name, '^(.+)%.%d+$')
end

-- The row of the list that a name is an item of.
local function list_row_of(name)
  local list = list_of(name)
  local row = list and row_of(list)
  return row and row.list and row or nil
end

-- The row that holds a name against others: its own or its list's, unless it failed. And whether it has one of its own.
local function holder_of(name)
  local own = row_of(name)
  local row = own
  if not row or row.state == FAILED then
    row = list_row_of(name)
  end
  return row and row.state ~= FAILED and row or nil, own ~= nil
end

local function set_row(name, state, call, at, step, list, ...)
  local row = table.concat({ state, call, at, step, list and '1' or '0', ... }, '\n')
  redis.call('HSET', vars, name, row, VERSION_FIELD, SCHEMA)
end

local function split(text)
  local items = {}
  for item in string.gmatch(text, '[^\t]+') do
    items[#items + 1] = item
  end
  return items
end

local function call_of(id)
  local text = redis.call('HGET', calls, id)
  if not text then
    return nil
  end
  local epoch, at, step, reads, outputs = string.match(text, '^(%d+)\n(.-)\n(.-)\n(.-)\n(.*)$')
  return { id = id, epoch = epoch, at = at, step = step, reads = reads, outputs = outputs }
end

local function set_call(id, epoch, at, step, reads, outputs)
  redis.call('HSET', calls, id, table.concat({ epoch, at, step, reads, outputs }, '\n'))
end

-- Unix seconds by Redis' clock.
local function now()
  local time = redis.call('TIME')
  return string.format('%.0f.%06.0f', tonumber(time[1]), tonumber(time[2]))
end

-- How many variables the session has, as long as this script has written none.
local function count_variables()
  return redis.call('HLEN', vars) - (version and 1 or 0)
end

local function taken(row, name)
  return { 'taken', name, row.call, row.at, row.state, row.step, row.state == DECLARED and row.rest or '' }
end

-- Ends every writing script: all keys live on, and whoever waits is told which names changed. Times to live are renewed
-- when a fiftieth of them has gone by; `fresh_keys` are those that may have none yet.
local function finish(names, fresh_keys)
  local ttl_s = tonumber(ARGV[2])
  if redis.call('TTL', vars) < ttl_s - ttl_s / 50 then
    fresh_keys = KEYS
  end
  for _, key in ipairs(fresh_keys or {}) do
    redis.call('EXPIRE', key, ttl_s)
  end
  for from = 1, #names, NAMES_A_MESSAGE do
    local to = math.min(from + NAMES_A_MESSAGE - 1, #names)
    redis.call('PUBLISH', ARGV[3], table.concat(names, '\n', from, to))
  end
end
