-- Writes calls of one session: new ones, and what became of known ones. Writing a call twice changes nothing, and
-- an ended call never opens again.
-- KEYS meta, nodes, order, open, done, and place if the caller wants to know it
-- ARGV schema, ttl_s, node_limit, open_call_s, placement_ttl_s, name, touched_at,
--      then for each call: id, arrived_at, 1 if ended, 2 if it was refused, names (step and variables, by line), stored record
-- Publishes the names of calls that ended on the session's channel: other replicas may wait for them.
-- Returns how many of the oldest calls were dropped; with place, the worker that holds the session's context.
local meta, nodes, order, open, done, place = unpack(KEYS)
local ttl_s, limit, open_call_s = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local name, touched_at = ARGV[6], ARGV[7]
local ENDED = string.byte('e')
local placement_ttl_s = tonumber(ARGV[5])
local TRIM_EVERY = 64
-- Times to live are renewed when this much of them has gone by.
local renew_after_s = math.min(ttl_s / 50, placement_ttl_s / 4)

local version, ended_at, known_name = unpack(redis.call('HMGET', meta, 'v', 'ended_at', 'name'))
if is_unknown(version) then
  return unknown('session', version)
end
local held, holder = place and redis.call('GET', place), false
if held then
  local placed_version
  placed_version, holder = string.match(held, '^(%d+)|(.*)$')
  if is_unknown(placed_version) then
    return unknown('placement', placed_version)
  end
end

-- Scores are whole seconds: integers are compact and quick to compare, and no one asks for more.
local function second(at)
  return string.match(at, '^%d+')
end

local written = {}
local function by_score(key, arrived_at, names, suffix)
  local args = { 'ZADD', key }
  arrived_at = second(arrived_at)
  for one in string.gmatch(names, '[^\n]+') do
    args[#args + 1] = arrived_at
    args[#args + 1] = one .. suffix
  end
  redis.call(unpack(args))
  written[key] = true
end

local function close(names, suffix)
  local args = { 'ZREM', open }
  for one in string.gmatch(names, '[^\n]+') do
    args[#args + 1] = one .. suffix
  end
  redis.call(unpack(args))
end

local finished = {}

-- Returns whether the call is new.
local function write_ended(id, arrived_at, names, record, is_refused)
  local is_new = redis.call('HSET', nodes, id, record) == 1
  if names ~= '' then
    if not is_new then
      close(names, '\n' .. id)
    end
    if not is_refused then
      by_score(done, arrived_at, names, '')
    end
    finished[#finished + 1] = names
  end
  return is_new
end

local function write_open(id, arrived_at, names, record)
  if redis.call('HSETNX', nodes, id, record) == 1 then
    if names ~= '' then
      by_score(open, arrived_at, names, '\n' .. id)
    end
    return true
  end
  if string.byte(redis.call('HGET', nodes, id), 2) ~= ENDED then
    redis.call('HSET', nodes, id, record)
  end
  return false
end

local newest_at, over, trims = 0, 0, false
for i = 8, #ARGV, 5 do
  local id, arrived_at, ended, names, record = unpack(ARGV, i, i + 4)
  local write = ended == '0' and write_open or write_ended
  if write(id, arrived_at, names, record, ended == '2') then
    redis.call('ZADD', order, second(arrived_at), id)
    local count = redis.call('ZCARD', order)
    over = math.max(over, count - limit)
    trims = trims or over > 0 or count % TRIM_EVERY == 0
  end
  newest_at = math.max(newest_at, tonumber(arrived_at))
end

local fields = { 'HSET', meta, 'touched_at', touched_at }
local function set(field, value)
  fields[#fields + 1] = field
  fields[#fields + 1] = value
end
if not version then
  set('v', SCHEMA)
  set('created_at', ARGV[9])
end
if name ~= '' and name ~= known_name then
  set('name', name)
end
redis.call(unpack(fields))
if ended_at and tonumber(ended_at) < newest_at then
  redis.call('HDEL', meta, 'ended_at')
end

if over > 0 then
  local oldest = redis.call('ZPOPMIN', order, over)
  for i = 1, #oldest, 2 do
    redis.call('HDEL', nodes, oldest[i])
  end
  redis.call('HINCRBY', meta, 'dropped', over)
end
if trims then
  redis.call('ZREMRANGEBYSCORE', open, '-inf', newest_at - open_call_s)
  redis.call('ZREMRANGEBYRANK', open, 0, -limit - 1)
  redis.call('ZREMRANGEBYRANK', done, 0, -limit - 1)
end
-- An index may be as new as its first entry; the other keys are as old as the session.
if redis.call('TTL', meta) < ttl_s - renew_after_s then
  for i = 1, 5 do
    redis.call('EXPIRE', KEYS[i], ttl_s)
  end
  if held then
    redis.call('EXPIRE', place, placement_ttl_s)
  end
else
  for key in pairs(written) do
    redis.call('EXPIRE', key, ttl_s)
  end
end
if #finished > 0 then
  redis.call('PUBLISH', string.sub(meta, 1, -5) .. 'changed', table.concat(finished, '\n'))
end
if place then
  return holder
end
return over
