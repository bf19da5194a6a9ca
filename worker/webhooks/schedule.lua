-- Make the deliveries of an alarm. Put before worker/topic/publish.lua; needs messages.lua.
local function backlog_of(id)
  return redis.call('ZCARD', W .. 'due:' .. id) + redis.call('ZCARD', W .. 'leases:' .. id)
    + redis.call('ZCARD', W .. 'digest:' .. id)
end

local order = 0

local function enqueue(id, config, event, body, now)
  -- Alarms of one millisecond keep their order.
  order = math.min(order + 1, 4000)
  now = now - 1 + order / 4096
  local full = backlog_of(id) >= config.backlog
  if config.digest_s and not full then
    if not redis.call('ZSCORE', W .. 'digest:' .. id, event) then
      keep(event, body)
      redis.call('ZADD', W .. 'digest:' .. id, now, event)
    end
    return
  end
  -- The id depends on endpoint and event alone: an alarm that is published again makes no second message. What says
  -- that there is one is written last: a Redis that fails in between does it again rather than never.
  local message = message_id(id, event)
  if redis.call('HEXISTS', W .. 'message:' .. message, 'events') == 1 then return end
  keep(event, body)
  if full then
    bury(id, message, 'backlog full', now)
  else
    redis.call('ZADD', W .. 'due:' .. id, now, message)
  end
  write_message(id, message, { event }, 0, now)
end

local function listed(list, value)
  if not list then return true end
  for _, entry in ipairs(list) do
    if entry == value then return true end
  end
  return false
end

local function wants(config, alarm)
  return RANK[alarm.severity] >= RANK[config.min_severity] and listed(config.signals, alarm.signal)
    and listed(config.sources, alarm.source) and listed(config.tenants, alarm.tenant)
end

local subscribed, refreshed = nil, {}

-- Endpoints that may get alarms, read once a script.
local function subscribers()
  if subscribed then return subscribed end
  subscribed = {}
  local all = redis.call('HGETALL', W .. 'endpoints')
  for i = 1, #all, 2 do
    if redis.call('HEXISTS', W .. 'disabled', all[i]) == 0 then subscribed[all[i]] = parsed(all[i + 1]) end
  end
  return subscribed
end

-- Make the deliveries of one alarm event. Called by publish.lua.
local function schedule(body)
  if next(subscribers()) == nil then return end
  local event, now = cjson.decode(body), clock()
  for id, config in pairs(subscribers()) do
    if wants(config, event.data) then
      enqueue(id, config, event.id, body, now)
      if not refreshed[id] then
        refresh(id, config, now)
        refreshed[id] = true
      end
    end
  end
end
