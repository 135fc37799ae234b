-- What the ledger's side tells.
--
-- KEYS[1]  the tag of the shard
-- ARGV     epoch, sequence seen, now, then changes: a letter and what belongs to it
--            A account version facts balance         K kid account version facts
--            J id account delta                      B budget value end
--            T twin fingerprint end <+ | -> answer   I kid account: where to look for a key

local call = redis.call
local tag = KEYS[1]
local EPOCH, SEQUENCE = tag .. 'epoch', tag .. 'seq'
local now = checked(ARGV[3])

if call('GET', EPOCH) ~= ARGV[1] then return 'E' end
local sequence = tonumber(call('GET', SEQUENCE) or '0')
if sequence < tonumber(ARGV[2]) then return 'L' end
call('SET', SEQUENCE, digits(sequence + 1))

-- The first generation of an account is an instant: none that was before a rebuild is ever met again.
local function touch(account)
  local key = tag .. 'g:' .. account
  if call('EXISTS', key) == 1 then return call('INCR', key) end
  local time = call('TIME')
  call('SET', key, digits(tonumber(time[1]) * 1000000 + tonumber(time[2])))
end

local changes = {}

-- Facts that are older than those that are known come late, and change nothing.
local function newer(key, version)
  local known = call('GET', key)
  return not known or at_most(integer(string.match(known, '^%-?%d+')), checked(version))
end

function changes.A(account, version, facts, balance)
  local key = tag .. 'a:' .. account
  if not newer(key, version) then return 'D' end
  call('SET', key, version .. '\n' .. facts)
  call('SET', tag .. 'b:credits:' .. account, digits(checked(balance)), 'NX')
  touch(account)
  return 'D'
end

function changes.K(kid, account, version, facts)
  local key = tag .. 'k:' .. kid
  if not newer(key, version) then return 'D' end
  call('SET', key, version .. '\n' .. account .. '\n' .. facts)
  if call('EXISTS', tag .. 'a:' .. account) == 1 then touch(account) end
  return 'D'
end

function changes.I(kid, account)
  call('SET', tag .. 'i:' .. kid, account)
  return 'D'
end

function changes.J(id, account, delta)
  local adjusted, credits = tag .. 'adjusted', tag .. 'b:credits:' .. account
  local known = call('HGET', adjusted, id)
  if known then return known == delta and 'D' or 'C' end
  local balance = call('GET', credits)
  if not balance then return 'U' end
  call('HSET', adjusted, id, digits(checked(delta)))
  call('SET', credits, digits(plus(integer(balance), checked(delta))))
  return 'D'
end

function changes.B(name, value, till)
  local key = tag .. 'b:' .. name
  if call('SET', key, digits(checked(value)), 'NX') then
    call('ZADD', tag .. 'windows', digits(checked(till)), key)
  end
  return 'D'
end

function changes.T(id, fingerprint, till, kept, answer)
  local lives = minus(checked(till), now)
  if at_most(1000, lives) then
    local text = done_twin(fingerprint, integer(till), kept == '+' and answer)
    call('SET', tag .. 't:' .. id, text, 'NX', 'PX', digits(floor(tonumber(lives) / 1000)))
  end
  return 'D'
end

local widths = { A = 4, K = 4, I = 2, J = 3, B = 3, T = 5 }
local told, at = {}, 4
while at <= #ARGV do
  local letter = ARGV[at]
  told[#told + 1] = changes[letter](unpack(ARGV, at + 1, at + widths[letter]))
  at = at + 1 + widths[letter]
end
return 'K' .. digits(sequence + 1) .. ' ' .. table.concat(told)
