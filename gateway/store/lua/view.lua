-- Everything known of a session.
-- KEYS meta, nodes, place
-- ARGV schema
-- Returns nil, or the fields of meta, the stored records in no order, and the placement's value.
local version = redis.call('HGET', KEYS[1], 'v')
if not version then
  return false
end
if is_unknown(version) then
  return unknown('session', version)
end
return { redis.call('HGETALL', KEYS[1]), redis.call('HVALS', KEYS[2]), redis.call('GET', KEYS[3]) }
