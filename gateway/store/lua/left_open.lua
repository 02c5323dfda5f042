-- Whose calls of these names are open; those of dead replicas are over from now on. Deferred ones are not: their
-- leases say who runs them.
-- KEYS meta, open, done, deferred
-- ARGV schema, ttl_s, oldest_at (open calls before it are dead anyway), channel, dead replicas (by tab), then the names
-- Returns the replicas that have open calls of these names, dead ones included.
local version = redis.call('HGET', KEYS[1], 'v')
if is_unknown(version) then
  return unknown('session', version)
end
local is_asked, is_dead, seen, replicas, ended = {}, {}, {}, {}, {}
for i = 6, #ARGV do
  is_asked[ARGV[i]] = true
end
for replica in string.gmatch(ARGV[5], '[^\t]+') do
  is_dead[replica] = true
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[3], '+inf')) do
  local name, call = string.match(member, '^([^\n]*)\n(.*)$')
  local replica = string.match(call, '^call%-(%x+)%-')
  if is_asked[name] and replica and redis.call('HEXISTS', KEYS[4], call) == 0 then
    if not seen[replica] then
      seen[replica] = true
      replicas[#replicas + 1] = replica
    end
    if is_dead[replica] then
      redis.call('ZADD', KEYS[3], redis.call('ZSCORE', KEYS[2], member), name)
      redis.call('ZREM', KEYS[2], member)
      ended[#ended + 1] = name
    end
  end
end
if #ended > 0 then
  redis.call('EXPIRE', KEYS[3], ARGV[2])
  redis.call('PUBLISH', ARGV[4], table.concat(ended, '\n'))
end
return replicas
