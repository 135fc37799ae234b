-- What is known of keys, accounts and budgets.
--
-- KEYS[1]  the tag of the shard
-- ARGV     epoch, then a letter and a name for each question: K key, A account, B budget, I account of a key

local call, match = redis.call, string.match
local tag = KEYS[1]

if call('GET', tag .. 'epoch') ~= ARGV[1] then return 'E' end

local function account(id, key)
  local known = call('GET', tag .. 'a:' .. id)
  return known and { match(known, '^%-?%d+\n(.*)'), call('GET', tag .. 'g:' .. id), key } or ''
end

local questions = {}

function questions.A(id)
  return account(id)
end

function questions.B(name)
  return call('GET', tag .. 'b:' .. name) or ''
end

function questions.I(kid)
  return call('GET', tag .. 'i:' .. kid) or ''
end

function questions.K(kid)
  local known = call('GET', tag .. 'k:' .. kid)
  if not known then return '' end
  local id, facts = match(known, '^%-?%d+\n([^\n]*)\n(.*)')
  return account(id, facts)
end

local told = {}
for i = 2, #ARGV, 2 do told[#told + 1] = questions[ARGV[i]](ARGV[i + 1]) end
return { 'K', told }
