-- Hand out messages and take back how they fared. For worker/webhooks/schedule.py; needs messages.lua.
local KEPT_RECENT, SWEEP = 100, 100
local BUCKETS = { 50, 250, 1000, 5000, 20000 }

local function digest_message(id, config, now)
  local key = W .. 'digest:' .. id
  local events = redis.call('ZRANGE', key, 0, config.digest_max - 1)
  if #events == 0 then return nil end
  local message = message_id(id, 'digest ' .. redis.call('HINCRBY', W .. 'state:' .. id, 'digests', 1))
  write_message(id, message, events, redis.call('ZCARD', key) - #events, now)
  redis.call('ZREM', key, unpack(events))
  return message
end

local function pick(id, config, now, max_age)
  for _ = 1, SWEEP do
    local due = W .. 'due:' .. id
    local message = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, 1)[1]
    if not message then return config.digest_s and digest_message(id, config, now) or nil end
    local created = redis.call('HGET', W .. 'message:' .. message, 'created')
    if created and tonumber(created) + max_age >= now then return message end
    if created then bury(id, message, 'too old', now) end
    redis.call('ZREM', due, message)
  end
end

-- The task that ``nudge`` names ends.
local function finish(id, nudge, config, now)
  redis.call('ZREM', W .. 'nudges:' .. id, nudge)
  refresh(id, config, now)
end

-- Lease the endpoint's next message to a task. Returns {message, attempt, created, failures, waiting, events...}, or
-- nothing, and then the task ends.
local function claim(id, nudge, lease_ms, max_age)
  local now, config = clock(), config_of(id)
  if not config or redis.call('HEXISTS', W .. 'disabled', id) == 1 then return finish(id, nudge, nil, now) end
  local leases = W .. 'leases:' .. id
  for _, message in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, SWEEP)) do
    redis.call('ZADD', W .. 'due:' .. id, now, message)
    redis.call('ZREM', leases, message)
  end
  local state = state_of(id)
  local message
  local free = redis.call('ZCARD', leases) < slots_of(config, state)
  if state.hold <= now and state.next_send <= now and free then message = pick(id, config, now, max_age) end
  if not message then return finish(id, nudge, config, now) end
  local attempt = redis.call('HINCRBY', W .. 'message:' .. message, 'attempts', 1)
  redis.call('ZADD', leases, now + lease_ms, message)
  redis.call('ZADD', W .. 'nudges:' .. id, now + lease_ms, nudge)
  redis.call('ZREM', W .. 'due:' .. id, message)
  local pause = math.max(config.rate and math.ceil(1000 / config.rate) or 0, (config.digest_s or 0) * 1000)
  if pause > 0 then redis.call('HSET', W .. 'state:' .. id, 'next_send', now + pause) end
  refresh(id, config, now)
  local about = redis.call('HMGET', W .. 'message:' .. message, 'created', 'waiting')
  local claimed = { message, attempt, tonumber(about[1]), state.failures, tonumber(about[2]) }
  for _, event in ipairs(events_of(message)) do
    claimed[#claimed + 1] = redis.call('HGET', W .. 'events', event)
  end
  return claimed
end

local function count(id, code, took, now)
  local state = W .. 'state:' .. id
  redis.call('HINCRBY', state, 'attempts', 1)
  redis.call('HINCRBY', state, 'took_ms', took)
  for _, bound in ipairs(BUCKETS) do
    if took <= bound then redis.call('HINCRBY', state, 'le_' .. bound, 1) end
  end
  redis.call('HSET', state, 'last_code', code, 'last_at', now)
end

local function remember(id, message, now)
  local about = redis.call('HMGET', W .. 'message:' .. message, 'created', 'attempts', 'codes', 'events')
  redis.call('LPUSH', W .. 'recent:' .. id, cjson.encode({
    message = message, created = tonumber(about[1]), attempts = tonumber(about[2]),
    codes = about[3], alarms = #cjson.decode(about[4]), at = now,
  }))
  redis.call('LTRIM', W .. 'recent:' .. id, 0, KEPT_RECENT - 1)
end

-- Record how an attempt ended. Results: delivered, retry, dead, gone (410). ``claim`` or ``finish`` comes next.
local function settle(id, message, attempt, result, code, delay, hold, took)
  local now = clock()
  local key, state = W .. 'message:' .. message, W .. 'state:' .. id
  local current = redis.call('HGET', key, 'attempts')
  if not current then return end
  local held = redis.call('ZSCORE', W .. 'leases:' .. id, message) or redis.call('ZSCORE', W .. 'due:' .. id, message)
  -- This attempt lost its lease to a later one, or the message was given up: only a success still counts.
  if result ~= 'delivered' and (current ~= attempt or not held) then return end
  count(id, code, took, now)
  local codes = redis.call('HGET', key, 'codes')
  redis.call('HSET', key, 'codes', codes and (codes .. ', ' .. code) or code)
  if result == 'delivered' then
    redis.call('HSET', state, 'failures', 0, 'ok', now)
    redis.call('HINCRBY', state, 'delivered', 1)
    redis.call('ZREM', W .. 'due:' .. id, message)
    redis.call('ZREM', W .. 'dead:' .. id, message)
    remember(id, message, now)
    forget(message)
  else
    redis.call('HINCRBY', state, 'failures', 1)
    if hold > 0 then redis.call('HSET', state, 'hold', math.max(now + hold, state_of(id).hold)) end
    if result == 'gone' then redis.call('HSET', W .. 'disabled', id, '410 Gone') end
    if result == 'dead' then
      bury(id, message, 'exhausted', now)
    else
      redis.call('ZADD', W .. 'due:' .. id, now + delay, message)
    end
  end
  redis.call('ZREM', W .. 'leases:' .. id, message)
end

-- Name tasks for endpoints that have something due, to be sent by the caller; one that is lost is named again after
-- ``patience``. Returns {milliseconds until the next look, endpoint, task, endpoint, task, ...}.
local function dispatch(patience)
  local now, sent = clock(), {}
  redis.call('DEL', W .. 'wake')
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', W .. 'turns', '-inf', now, 'LIMIT', 0, SWEEP)) do
    local config = config_of(id)
    if config and nudge_wanted(id, config, state_of(id), now) then
      local nudge = tostring(redis.call('INCR', W .. 'nudge'))
      redis.call('ZADD', W .. 'nudges:' .. id, now + patience, nudge)
      sent[#sent + 1] = id
      sent[#sent + 1] = nudge
    end
    refresh(id, config, now)
  end
  local wait = first_score(W .. 'turns')
  return { wait and math.max(0, wait - now) or WAKE_MS, unpack(sent) }
end

local function replay(id, message)
  if redis.call('ZREM', W .. 'dead:' .. id, message) == 0 then return 0 end
  local now = clock()
  redis.call('HSET', W .. 'message:' .. message, 'attempts', 0, 'created', now)
  redis.call('HDEL', W .. 'message:' .. message, 'reason')
  redis.call('ZADD', W .. 'due:' .. id, now, message)
  refresh(id, config_of(id), now)
  return 1
end

-- Delete what a removed endpoint left, a bounded number at a time. Returns how many were deleted.
local function purge(id)
  local deleted = 0
  for _, set in ipairs({ 'due:', 'leases:', 'dead:' }) do
    for _, message in ipairs(redis.call('ZRANGE', W .. set .. id, 0, SWEEP - 1)) do
      forget(message)
      redis.call('ZREM', W .. set .. id, message)
      deleted = deleted + 1
    end
  end
  for _, event in ipairs(redis.call('ZRANGE', W .. 'digest:' .. id, 0, SWEEP - 1)) do
    drop(event)
    redis.call('ZREM', W .. 'digest:' .. id, event)
    deleted = deleted + 1
  end
  if deleted == 0 then redis.call('DEL', W .. 'state:' .. id, W .. 'recent:' .. id, W .. 'nudges:' .. id) end
  return deleted
end
