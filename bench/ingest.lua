-- Fixes of many officers, each with a token of his own: every request has a new (device, time).
-- wrk -s ingest.lua URL -- FILE FIXES FIRST_MS STEP_MS SENT_AT LOG
--   FILE: one "token device_id" on each line; FIXES: in each request; FIRST_MS, STEP_MS: times, in Unix ms.
local threads = {}
local counter = 0

function setup(thread)
  thread:set("id", counter)
  counter = counter + 1
  thread:set("total", 0)
  table.insert(threads, thread)
  for _, one in ipairs(threads) do one:set("total", counter) end
end

function init(args)
  officers = {}
  for line in io.lines(args[1]) do
    local token, device = line:match("^(%S+) (%S+)$")
    officers[#officers + 1] = { token = token, device = device }
  end
  fixes, first_ms, step_ms = tonumber(args[2]), tonumber(args[3]), tonumber(args[4])
  sent_at = args[5]
  position, round = id, 0
  stored, refused, refusal = 0, 0, ""
  part = nil
  while position >= #officers do position = position - #officers end
end

local function moment(ms)
  return os.date("!%Y-%m-%dT%H:%M:%S", math.floor(ms / 1000)) .. string.format(".%03dZ", ms % 1000)
end

local function fixes_of(round)
  local found = {}
  for i = 1, fixes do
    local n = round * fixes + i - 1
    local along = (n % 4000) * 0.000001
    found[i] = string.format(
      '{"fixed_at":"%s","lon":%.7f,"lat":%.7f,"accuracy_m":6.5,"altitude_m":4.2,"speed_mps":1.3,"heading_deg":92.5,"battery_pct":81,"charging":false}',
      moment(first_ms + n * step_ms), 121.47 + along, 31.23 + along)
  end
  return table.concat(found, ",")
end

function request()
  if part == nil or position >= #officers then
    if part ~= nil then
      position = position - #officers
      round = round + 1
    end
    part = fixes_of(round)
  end
  local officer = officers[position + 1]
  position = position + total
  local body = '{"device_id":"' .. officer.device .. '","sent_at":"' .. sent_at .. '","fixes":[' .. part .. ']}'
  return wrk.format("POST", "/api/v1/officer/fixes",
    { ["Authorization"] = "Bearer " .. officer.token, ["Content-Type"] = "application/json" }, body)
end

function response(status, headers, body)
  if status == 200 then
    stored = stored + tonumber(body:match('"stored":%s*(%d+)') or 0)
  else
    refused = refused + 1
    refusal = status .. " " .. body:sub(1, 200)
  end
end

function done(summary, latency, requests)
  local stored, refused, refusal = 0, 0, ""
  for _, thread in ipairs(threads) do
    stored = stored + thread:get("stored")
    refused = refused + thread:get("refused")
    if thread:get("refusal") ~= "" then refusal = thread:get("refusal") end
  end
  io.write(string.format(
    '\nRESULT {"requests": %d, "seconds": %.6f, "stored": %d, "refused": %d, "errors": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6, stored, refused,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
  if refusal ~= "" then io.write("REFUSAL " .. refusal .. "\n") end
end
