-- Take the next message off the queues and note it as taken, in one step.
--
-- KEYS[1] hash of taken messages by tag, KEYS[2] sorted set of tags by the time of their last lease,
-- KEYS[3..] queues, the preferred one first
-- ARGV[1] a fresh id, ARGV[2] most bytes to hand over
-- Returns {queue, tag, message, bytes of the whole message}, or nothing if all queues are empty.
--
-- The pop comes first: a full Redis refuses a script's first write only, so that none is refused half-way.
for i = 3, #KEYS do
  local message = redis.call('RPOP', KEYS[i])
  if message then
    local tag = ARGV[1] .. ':' .. KEYS[i]
    redis.call('HSET', KEYS[1], tag, message)
    redis.call('ZADD', KEYS[2], redis.call('TIME')[1], tag)
    return {KEYS[i], tag, string.sub(message, 1, ARGV[2]), #message}
  end
end
-- A read of the empty queues: the server tells a connection with CLIENT TRACKING when one of them changes.
redis.call('EXISTS', unpack(KEYS, 3))
return false
