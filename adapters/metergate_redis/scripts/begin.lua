-- Close a shard under a new epoch, and forget everything but the outbox, a part at a time.
--
-- KEYS[1]  the tag of the shard
-- ARGV     the new epoch, cursor of the part

local call = redis.call
local tag, epoch, cursor = KEYS[1], ARGV[1], ARGV[2]
local KEPT = { [tag .. 'epoch'] = true, [tag .. 'seq'] = true, [tag .. 'out'] = true, [tag .. 'waiting'] = true }

if cursor == '0' then
  call('SET', tag .. 'epoch', epoch)
  -- What consumers had drained belongs to nobody again.
  if call('EXISTS', tag .. 'out') == 1 then call('XGROUP', 'DESTROY', tag .. 'out', 'ledger') end
  call('XGROUP', 'CREATE', tag .. 'out', 'ledger', '0', 'MKSTREAM')
elseif call('GET', tag .. 'epoch') ~= epoch then
  return 'E'
end
local found = call('SCAN', cursor, 'MATCH', tag .. '*', 'COUNT', '1000')
for _, key in ipairs(found[2]) do
  if not KEPT[key] then call('UNLINK', key) end
end
return 'K' .. found[1]
