-- The worker that holds a session's context, and its lease of life renewed.
-- KEYS place
-- ARGV schema, ttl_s
local held = redis.call('GET', KEYS[1])
if not held then
  return false
end
local version, worker = string.match(held, '^(%d+)|(.*)$')
if is_unknown(version) then
  return unknown('placement', version)
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return worker
