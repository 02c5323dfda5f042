-- Whether one of these variables is awaited.
-- KEYS awaited
-- ARGV schema, then the names
-- Returns 1 or 0.
for i = 2, #ARGV do
  local ends_ms = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if ends_ms and tonumber(ends_ms) > now_ms then
    return 1
  end
end
return 0
