-- Marks a session as ended and forgets where its context lies. Ending twice changes nothing.
-- KEYS meta, place
-- ARGV schema, ended_at
-- Returns 1 if the session is known.
local version = redis.call('HGET', KEYS[1], 'v')
if is_unknown(version) then
  return unknown('session', version)
end
redis.call('DEL', KEYS[2])
if not version then
  return 0
end
redis.call('HSETNX', KEYS[1], 'ended_at', ARGV[2])
return 1
