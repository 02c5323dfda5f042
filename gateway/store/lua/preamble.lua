-- Goes in front of every script. ARGV[1] is the caller's schema version.
local SCHEMA = '1'
local UNKNOWN_SCHEMA = 'LGSCHEMA the %s has schema %s, this script knows ' .. SCHEMA
local function unknown(what, version)
  return redis.error_reply(string.format(UNKNOWN_SCHEMA, what, version))
end
local function is_unknown(version)
  return version and version ~= SCHEMA
end
if is_unknown(ARGV[1]) then
  return unknown('caller', ARGV[1])
end
