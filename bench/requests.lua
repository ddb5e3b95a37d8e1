-- The requests of one round, for wrk. Arguments: the kind of request, a seed, and perhaps a file of bearer tokens.
--
-- mesh   what one service of a mesh sends another: about nine header fields, of which some repeat from request to
--        request (host, user agent), some per user (bearer token, session), some never (trace, request id).
--        Identical requests would flatter whoever remembers what it has seen.
-- close  the same, and the connection ends with the answer.
-- large  a mebibyte of answer. medium: 64 KiB.
-- upload a body of 256 KiB.
-- both   16 KiB there, 15 KiB back. chunks: sixteen chunks there. json: 15 KiB back, and gzip is accepted.
-- post   mesh with a body of a kibibyte. fields: mesh with 50 fields. hosts: mesh for one of a thousand virtual hosts.
-- pipeline eight of mesh at once. heads: 74 KiB of fields. bits: a kibibyte there in sixteen chunks of 64 bytes.
-- shut   a short message behind which the other side closes.
-- small  a short message that never varies: for proxies that don't look inside.

local random, format = math.random, string.format
local areas = {"/cart", "/catalogue", "/checkout", "/currency", "/email", "/payment", "/product", "/recommend", "/shipping", "/"}
local paths, users = {}, {}
local kind, seen = "mesh", 0
local upload = "POST /items HTTP/1.1\r\nhost: a\r\ncontent-type: application/octet-stream\r\ncontent-length: 262144\r\n\r\n" .. string.rep("u", 262144)
local both = "POST /small HTTP/1.1\r\nhost: a\r\ncontent-type: application/octet-stream\r\ncontent-length: 16384\r\n\r\n" .. string.rep("u", 16384)
local chunks = "POST /items HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" .. string.rep("400\r\n" .. string.rep("u", 1024) .. "\r\n", 16) .. "0\r\n\r\n"
local bits = "POST /items HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" .. string.rep("40\r\n" .. string.rep("u", 64) .. "\r\n", 16) .. "0\r\n\r\n"
local body = '{"text":"' .. string.rep("p", 1013) .. '"}'
local fields = ""
for i = 1, 42 do fields = fields .. format("x-field-%d: value %d of a request with many fields\r\n", i, i * 7919) end

local heads = ""
for i = 1, 36 do heads = heads .. format("x-claim-%d: %s\r\n", i, string.rep("c", 2048)) end

function init(args)
  kind = args[1] or "mesh"
  math.randomseed(tonumber(args[2] or "1"))
  for i = 0, 199 do
    local area = areas[i % 10 + 1]
    paths[i] = (area == "/" and "" or area) .. format("/items/%d?page=%d", i * 7919, i % 13)
  end
  local tokens = args[3] and io.lines(args[3])
  for i = 0, 499 do
    local token = {}
    for j = 1, 12 do token[j] = format("%08x", random(0, 0x7fffffff)) end
    users[i] = {bearer = tokens and tokens() or table.concat(token), session = format("%08x%08x", random(0, 0x7fffffff), random(0, 0x7fffffff))}
  end
end

local function hex32()
  return format("%08x", random(0, 0x7fffffff))
end

local function request_id()
  local tail = hex32()
  return format("%s-%s-4%s-a%s-%s%s", hex32(), tail:sub(1, 4), tail:sub(2, 4), tail:sub(5, 7), hex32(), tail:sub(5, 8))
end

local function mesh(last, method)
  seen = seen + 1
  local user = users[random(0, 499)]
  local id = seen % 2 == 0 and ("x-request-id: " .. request_id() .. "\r\n") or ""
  return (method or "GET ") .. paths[random(0, 199)] .. " HTTP/1.1\r\nhost: shop.default.svc.cluster.local\r\n"
    .. "user-agent: frontend/1.14.2 (linux; x86_64)\r\naccept: application/json\r\naccept-encoding: gzip, deflate\r\n"
    .. "authorization: Bearer " .. user.bearer .. "\r\ncookie: session=" .. user.session .. "; theme=dark; seen=" .. seen
    .. "\r\ntraceparent: 00-" .. hex32() .. hex32() .. hex32() .. hex32() .. "-" .. hex32() .. hex32() .. "-01\r\n"
    .. id .. "x-forwarded-proto: http\r\n" .. last .. "\r\n"
end

local function hosts()
  local number = random(0, 999)
  return (mesh(""):gsub("shop%.default", format("service%d.ns%d", number, number % 20), 1))
end

function request()
  if kind == "json" then return "GET /small HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n" end
  if kind == "shut" then return "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" end
  if kind == "both" then return both end
  if kind == "chunks" then return chunks end
  if kind == "bits" then return bits end
  if kind == "heads" then return mesh(heads) end
  if kind == "pipeline" then
    local eight = {}
    for i = 1, 8 do eight[i] = mesh("") end
    return table.concat(eight)
  end
  if kind == "post" then return mesh("content-type: application/json\r\ncontent-length: 1024\r\n", "POST ") .. body end
  if kind == "fields" then return mesh(fields) end
  if kind == "hosts" then return hosts() end
  if kind == "large" then return "GET /large HTTP/1.1\r\nhost: a\r\n\r\n" end
  if kind == "medium" then return "GET /medium HTTP/1.1\r\nhost: a\r\n\r\n" end
  if kind == "upload" then return upload end
  if kind == "small" then return "GET / HTTP/1.1\r\nhost: a\r\n\r\n" end
  return mesh(kind == "close" and "connection: close\r\n" or "")
end

-- One line for the program that started wrk. Times are in microseconds.
function done(summary, latency)
  local errors = summary.errors
  io.write(format('\nRESULT {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "bytes": %d, "connect_errors": %d, '
    .. '"read_errors": %d, "write_errors": %d, "status_errors": %d, "timeouts": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), summary.bytes,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
