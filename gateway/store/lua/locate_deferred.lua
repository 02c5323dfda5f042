-- Notes which session a deferred call belongs to, or says so.
-- KEYS call
-- ARGV schema, then to note it ttl_s, session
-- Returns the session, nil if it is not known.
if ARGV[3] then
  redis.call('SET', KEYS[1], SCHEMA .. '|' .. ARGV[3], 'EX', ARGV[2])
  return ARGV[3]
end
local held = redis.call('GET', KEYS[1])
if not held then
  return nil
end
local version, session = string.match(held, '^(%d+)|(.*)$')
if is_unknown(version) then
  return unknown('call', version)
end
return session
