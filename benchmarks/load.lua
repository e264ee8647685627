-- wrk's script: a request is a text before the key's number, the number, and a text after it.
-- Arguments: before, after, digits of the number, count of keys, the first key's number or "random".
-- Nothing looks at the answers here, as that would cost the load generator half of its speed; wrk counts
-- what is not 2xx or 3xx, and the caller has compared an answer before.
local before, after, number, keys, position

function init(arguments)
  before, after, number = arguments[1], arguments[2], "%0" .. arguments[3] .. "d"
  keys, position = tonumber(arguments[4]), tonumber(arguments[5])
  math.randomseed(os.time())
end

function request()
  local key
  if position then
    key = position % keys
    position = position + 1
  else
    key = math.random(0, keys - 1)
  end
  return before .. number:format(key) .. after
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "refused": %d, "lost": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
