-- Which officers are nearest to some place: GETs with the tokens of many desks in turn.
-- wrk -s dispatch.lua URL -- TOKENS PATH WEST SOUTH EAST NORTH

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  tokens = {}
  for line in io.lines(args[1]) do tokens[#tokens + 1] = line end
  path = args[2]
  west, south, east, north = tonumber(args[3]), tonumber(args[4]), tonumber(args[5]), tonumber(args[6])
  position, refused, refusal = 0, 0, ""
  math.randomseed(7)
end

function request()
  position = position % #tokens + 1
  local lon = west + (east - west) * math.random()
  local lat = south + (north - south) * math.random()
  return wrk.format("GET", string.format("%s?lon=%.6f&lat=%.6f&limit=10", path, lon, lat),
    { Authorization = "Bearer " .. tokens[position] })
end

function response(status, headers, body)
  if status ~= 200 then
    refused = refused + 1
    if refusal == "" then refusal = status .. " " .. body end
  end
end

function done(summary, latency, requests)
  local count, first = 0, ""
  for _, thread in ipairs(threads) do
    count = count + thread:get("refused")
    if first == "" then first = thread:get("refusal") end
  end
  print(string.format('FOUND {"requests":%d,"seconds":%.6f,"refused":%d,"refusal":"%s"}', summary.requests,
    summary.duration / 1e6, count, first:sub(1, 200):gsub('["\\%c]', "'")))
end
