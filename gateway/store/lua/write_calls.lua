-- Writes calls of one session: new ones, and what became of known ones. Writing a call twice changes nothing, and
-- an ended call never opens again.
-- KEYS meta, nodes, order, open, done
-- ARGV schema, ttl_s, node_limit, open_call_s, name, touched_at,
--      then for each call: id, arrived_at, 1 if ended, names (step and variables, by line), stored record
-- Returns how many of the oldest calls were dropped.
local meta, nodes, order, open, done = unpack(KEYS)
local ttl_s, limit, open_call_s = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local name, touched_at = ARGV[5], ARGV[6]
local ENDED = string.byte('e')

local version = redis.call('HGET', meta, 'v')
if is_unknown(version) then
  return unknown('session', version)
end

local function index_names(names, id, arrived_at, ended)
  for one in string.gmatch(names, '[^\n]+') do
    local member = one .. '\n' .. id
    if ended then
      redis.call('ZREM', open, member)
      redis.call('ZADD', done, arrived_at, one)
    else
      redis.call('ZADD', open, arrived_at, member)
    end
  end
end

local newest_at = 0
for i = 7, #ARGV, 5 do
  local id, arrived_at, ended, names, record = unpack(ARGV, i, i + 4)
  local known = redis.call('HGET', nodes, id)
  if ended == '1' or not (known and string.byte(known, 2) == ENDED) then
    redis.call('HSET', nodes, id, record)
    redis.call('ZADD', order, arrived_at, id)
    index_names(names, id, arrived_at, ended == '1')
  end
  newest_at = math.max(newest_at, tonumber(arrived_at))
end

redis.call('HSET', meta, 'v', SCHEMA, 'touched_at', touched_at)
redis.call('HSETNX', meta, 'created_at', ARGV[8])
if name ~= '' then
  redis.call('HSET', meta, 'name', name)
end
local ended_at = redis.call('HGET', meta, 'ended_at')
if ended_at and tonumber(ended_at) < newest_at then
  redis.call('HDEL', meta, 'ended_at')
end

local over = redis.call('ZCARD', order) - limit
if over > 0 then
  local oldest = redis.call('ZPOPMIN', order, over)
  for i = 1, #oldest, 2 do
    redis.call('HDEL', nodes, oldest[i])
  end
  redis.call('HINCRBY', meta, 'dropped', over)
end
redis.call('ZREMRANGEBYSCORE', open, '-inf', newest_at - open_call_s)
redis.call('ZREMRANGEBYRANK', open, 0, -limit - 1)
redis.call('ZREMRANGEBYRANK', done, 0, -limit - 1)
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ttl_s)
end
return math.max(over, 0)
