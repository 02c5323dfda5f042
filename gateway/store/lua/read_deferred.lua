-- What became of a deferred call.
-- KEYS deferred, replies
-- ARGV schema, call id
-- Returns {1, reply}, {0} while it runs, or nil if there is no such call.
local reply = redis.call('HGET', KEYS[2], ARGV[2])
if reply then
  local version, at = string.match(reply, '^(%d+)|()')
  if version ~= SCHEMA then
    return unknown('reply', version)
  end
  return {1, string.sub(reply, at)}
end
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then
  return {0}
end
return nil
