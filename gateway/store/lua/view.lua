-- Everything known of a session.
-- KEYS meta, nodes, place, deferred
-- ARGV schema
-- Returns nil, or the fields of meta, the stored records in no order, the placement's value, and which calls are
-- deferred and have no outcome.
local version = redis.call('HGET', KEYS[1], 'v')
if not version then
  return false
end
if is_unknown(version) then
  return unknown('session', version)
end
local fields, records = redis.call('HGETALL', KEYS[1]), redis.call('HVALS', KEYS[2])
return { fields, records, redis.call('GET', KEYS[3]), redis.call('HKEYS', KEYS[4]) }
