-- Places a session on a worker unless another replica was first.
-- KEYS place
-- ARGV schema, ttl_s, worker, the worker it may replace ('' for none)
-- Returns the worker that holds the session now.
local held = redis.call('GET', KEYS[1])
if held then
  local version, holder = string.match(held, '^(%d+)|(.*)$')
  if is_unknown(version) then
    return unknown('placement', version)
  end
  if holder ~= ARGV[4] then
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    return holder
  end
end
redis.call('SET', KEYS[1], SCHEMA .. '|' .. ARGV[3], 'EX', ARGV[2])
return ARGV[3]
