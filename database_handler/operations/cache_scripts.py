"""What the cache's server does in one step, in Lua: each script is one atomic answer to one question.

Keys may be evicted, expire, or hold something that is none of ours at any time; each script takes such a key
for one that is not there.
"""

__all__ = ["FILL", "LEASE", "MARK", "RELEASE"]

_TEXT = """
local function text(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'string' then return value end
  return ''
end
"""

# Keys: two shared tags, n own tags, n leases, n entries. Arguments: milliseconds that a tag and a lease live,
# the loader, then a new token for each tag. Gives the tags, then 1 for each lease that is the loader's: none
# of an entry that somebody stored since the loader looked.
LEASE = (
    _TEXT
    + """
local n = (#KEYS - 2) / 3
local answer, marked = {}, false
local function tag(at)
  local value = text(KEYS[at])
  if string.sub(value, 1, 1) == 'm' and redis.call('PTTL', KEYS[at]) > 0 then return value end
  if not string.match(value, '^t%x+$') then
    value = ARGV[3 + at]
    redis.call('SET', KEYS[at], value, 'PX', ARGV[1])
  else
    redis.call('PEXPIRE', KEYS[at], ARGV[1])
  end
  return value
end
for at = 1, 2 do
  answer[at] = tag(at)
  marked = marked or string.sub(answer[at], 1, 1) == 'm'
end
for i = 1, n do
  local value, lease, mine = tag(2 + i), KEYS[2 + n + i], 0
  answer[2 + i] = value
  if not marked and string.sub(value, 1, 1) ~= 'm' then
    local hangs_on = '1 ' .. answer[1] .. ':' .. answer[2] .. ':' .. value .. ' '
    local stored = redis.pcall('GETRANGE', KEYS[2 + 2 * n + i], 0, string.len(hangs_on) - 1)
    if stored ~= hangs_on and redis.call('PTTL', lease) < 0 then
      redis.call('SET', lease, ARGV[3], 'PX', ARGV[2])
      mine = 1
    end
  end
  answer[2 + n + i] = mine
end
return answer
"""
)

# Keys: two shared tags, n own tags, n leases, n entries. Arguments: the loader, the two tokens, then for each
# entry its own token, version, milliseconds and value. Gives how many were stored.
FILL = (
    _TEXT
    + """
local n, stored = (#KEYS - 2) / 3, 0
local shared = text(KEYS[1]) == ARGV[2] and text(KEYS[2]) == ARGV[3]
for i = 1, n do
  local at = 3 + 4 * (i - 1)
  local token, version, life, value = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  if value ~= '' and shared and text(KEYS[2 + i]) == token then
    local entry = KEYS[2 + 2 * n + i]
    local old = string.match(text(entry), '^1 (%S+ %d+) ')
    local tokens, held = string.match(old or '', '^(%S+) (%d+)$')
    local newer = tokens == ARGV[2] .. ':' .. ARGV[3] .. ':' .. token and tonumber(held) > tonumber(version)
    if not newer then
      redis.call('SET', entry, value, 'PX', life)
      stored = stored + 1
    end
  end
  if text(KEYS[2 + n + i]) == ARGV[1] then redis.call('DEL', KEYS[2 + n + i]) end
end
return stored
"""
)

_MARKS = (
    _TEXT
    + """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function marks(key, but)
  local kept, last, value = '', 0, text(key)
  if string.sub(value, 1, 1) == 'm' then
    for writer, ends in string.gmatch(value, '|(%x+):(%d+)') do
      local at = tonumber(ends)
      if writer ~= but and at > now then
        kept = kept .. '|' .. writer .. ':' .. ends
        last = math.max(last, at)
      end
    end
  end
  return kept, last
end
"""
)

# Keys: tags. Arguments: the writer, the milliseconds that its mark lives.
MARK = (
    _MARKS
    + """
local ends = now + ARGV[2]
for _, key in ipairs(KEYS) do
  local kept, last = marks(key, ARGV[1])
  local value = 'm' .. kept .. '|' .. ARGV[1] .. ':' .. string.format('%d', ends)
  redis.call('SET', key, value, 'PX', string.format('%d', math.max(last, ends) - now))
end
return 1
"""
)

# Keys: tags. Argument: the writer.
RELEASE = (
    _MARKS
    + """
for _, key in ipairs(KEYS) do
  local kept, last = marks(key, ARGV[1])
  if kept == '' then
    redis.call('DEL', key)
  else
    redis.call('SET', key, 'm' .. kept, 'PX', string.format('%d', last - now))
  end
end
return 1
"""
)
