-- Gives one replica's shares back.
-- KEYS the workers' leases
-- ARGV schema, replica
for _, key in ipairs(KEYS) do
  redis.call('HDEL', key, ARGV[2])
end
return #KEYS
