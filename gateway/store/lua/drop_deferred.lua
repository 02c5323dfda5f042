-- Gives up the lease of a call that has its outcome, if it is still ours; or lets it run out now, for others to take.
-- KEYS leases, owners
-- ARGV schema, replica, 1 to let it run out, then calls
for i = 4, #ARGV do
  local owner = redis.call('HGET', KEYS[2], ARGV[i])
  if owner == ARGV[2] then
    if ARGV[3] == '1' then
      redis.call('ZADD', KEYS[1], 0, ARGV[i])
    else
      redis.call('ZREM', KEYS[1], ARGV[i])
      redis.call('HDEL', KEYS[2], ARGV[i])
    end
  end
end
return 0
