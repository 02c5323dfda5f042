-- What is known of a session without its calls.
-- KEYS meta, order
-- ARGV schema
-- Returns nil, or the fields of meta and the number of calls.
local version = redis.call('HGET', KEYS[1], 'v')
if not version then
  return false
end
if is_unknown(version) then
  return unknown('session', version)
end
return { redis.call('HGETALL', KEYS[1]), redis.call('ZCARD', KEYS[2]) }
