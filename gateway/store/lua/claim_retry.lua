-- Claims an idempotency key for a call, renews the claim, or says what became of the call that holds the key.
-- KEYS retry
-- ARGV schema, call id, fingerprint of the request, lease_ms
-- Returns {'mine'}, {'runs'}, {'other'} (the key stands for another request), or {'done', reply}.
local held = redis.call('GET', KEYS[1])
if held then
  local version = string.match(held, '^%d+')
  if is_unknown(version) then
    return unknown('retry', version)
  end
  local state, fingerprint, at = string.match(held, '^%d+|(%a)|(%x+)|()')
  local rest = string.sub(held, at)
  if fingerprint ~= ARGV[3] then
    return { 'other' }
  end
  if state == 'd' then
    return { 'done', rest }
  end
  if rest ~= ARGV[2] then
    return { 'runs' }
  end
end
redis.call('SET', KEYS[1], table.concat({ SCHEMA, 'r', ARGV[3], ARGV[2] }, '|'), 'PX', ARGV[4])
return { 'mine' }
