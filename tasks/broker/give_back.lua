-- Put taken messages back into the queues they came from, each in one step.
--
-- KEYS[1] hash of taken messages by tag, KEYS[2] sorted set of tags by the time of their last lease
-- ARGV[1] RPUSH: taken next, or LPUSH: taken after all others
-- ARGV[2] seconds without renewal after which a lease has run out, ARGV[3] most messages; or '' and ''
-- ARGV[4..] tags, if no time is given
-- Returns how many were put back. A tag that was acknowledged meanwhile is nobody's and is left alone.
local tags = {}
if ARGV[2] == '' then
  for i = 4, #ARGV do tags[#tags + 1] = ARGV[i] end
else
  local latest = redis.call('TIME')[1] - ARGV[2]
  tags = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', latest, 'LIMIT', 0, ARGV[3])
end
local given = 0
for _, tag in ipairs(tags) do
  local message = redis.call('HGET', KEYS[1], tag)
  if message then
    -- The removal comes first: a full Redis refuses a script's first write only.
    redis.call('HDEL', KEYS[1], tag)
    redis.call(ARGV[1], string.sub(tag, string.find(tag, ':', 1, true) + 1), message)
    given = given + 1
  end
  redis.call('ZREM', KEYS[2], tag)
end
return given
