-- A call will produce no more: its outputs without a value fail.
-- ARGV ..., call, epoch, cause
-- Returns 'failed', the number of calls that read its failed outputs, the names that failed now; or 'fenced', '', call,
-- epoch, ''.
local known = call_of(ARGV[4])
if not known or known.epoch ~= ARGV[5] then
  return { 'fenced', '', ARGV[4], known and known.epoch or '0', '' }
end
local at, names, consumers = now(), {}, 0
for _, name in ipairs(split(known.outputs)) do
  local row = row_of(name)
  if row and row.call == known.id and row.state ~= VALUE then
    if row.state == DECLARED then
      set_row(name, FAILED, known.id, at, known.step, row.list, ARGV[6])
      names[#names + 1] = name
    end
    consumers = consumers + redis.call('ZLEXCOUNT', readers, '[' .. name .. '\n', '(' .. name .. '\11')
    if row.list then
      consumers = consumers + redis.call('ZLEXCOUNT', readers, '[' .. name .. '.', '(' .. name .. '/')
    end
  end
end
finish(names)
return { 'failed', consumers, unpack(names) }
