"""Loads that `python -m bench` runs when they are named, or all of them with `--more`: for what people have a proxy do
with their requests, and for requests of other sizes and numbers.

They are there to be asked about, not published: the target of each is Envoy's own cost.
"""

from __future__ import annotations

from bench.scenarios import Load


def _load(name: str, title: str, config: str, kind: str = "mesh", connections: int = 32) -> Load:
    return Load(name, title, config, connections, kind, 1.0)


MORE: tuple[Load, ...] = (
    _load("http-1000", "HTTP/1, 1,000 connections", "istio", connections=1000),
    _load("post", "A kibibyte there", "istio", "post"),
    _load("both-16k", "16 KiB there and back", "router", "both"),
    _load("chunks", "An upload of sixteen chunks", "router", "chunks"),
    _load("fields", "50 header fields", "istio", "fields"),
    _load("h1-h2", "HTTP/1 to HTTP/2", "istio+h2up"),
    _load("tls-up", "HTTP/1 to hosts over mutual TLS", "istio+tlsup"),
    _load("tcp-new", "A TCP connection per request", "tcp", "shut"),
    _load("tcp-large", "A mebibyte through tcp_proxy, 4 connections", "tcp", "large", 4),
    _load("routes", "200 routes, regular expressions and prefixes", "router+routes"),
    _load("hosts", "1,000 virtual hosts", "router+hosts", "hosts"),
    _load("matching", "Routes by fields and parameters, rewrites, formats in fields", "router+matching"),
    _load("weighted", "Two weighted clusters", "router+weighted"),
    _load("mirror", "A mirrored cluster", "router+mirror"),
    _load("retries", "A retry for each tenth request", "router+retries"),
    _load("guarded", "Outlier ejection and circuit breakers", "router+guarded"),
    _load("least", "LEAST_REQUEST", "router+least"),
    _load("ring", "A hash ring of 1,000 hosts", "router+ring"),
    _load("maglev", "MAGLEV", "router+maglev"),
    _load("subsets", "Subsets of hosts", "router+subsets"),
    _load("text-log", "An access log of 25 operators", "router+textlog"),
    _load("json-log", "The same in JSON", "router+jsonlog"),
    _load("tracing", "Zipkin, every request", "router+tracing"),
    _load("direct", "Direct responses", "router+direct"),
    _load("redirect", "Redirects", "router+redirect"),
    _load("forbid", "Refused by rbac (all fail, as they should)", "router+forbid"),
    _load("buffer", "The buffer filter, 16 KiB there and back", "router+buffer", "both"),
    _load("gzip", "15 KiB of JSON, compressed", "router+gzip", "json"),
    _load("authz", "ext_authz over HTTP", "router+authz"),
    _load("authz-grpc", "ext_authz over gRPC", "router+authzgrpc"),
    _load("ratelimit", "ratelimit", "router+ratelimit"),
    _load("tls-both", "HTTP/1 over TLS to hosts over mutual TLS", "istio+tls+tlsup"),
    _load("tcp-tls", "Small messages over TLS through tcp_proxy", "tcp+tls", "small"),
    _load("ext-proc", "ext_proc, heads of requests and answers", "router+extproc"),
    _load("original-dst", "ORIGINAL_DST by a field", "router+origdst"),
    _load("rr-1000", "ROUND_ROBIN, 1,000 hosts", "router+thousand-rr"),
    _load("least-1000", "LEAST_REQUEST, 1,000 hosts", "router+thousand-least"),
    _load("maglev-1000", "MAGLEV, 1,000 hosts", "router+thousand-maglev"),
    _load("half", "A retry for every other request", "router+half"),
    _load("no-route", "No route (all fail, as they should)", "router+noroute"),
    _load("listeners", "One of 50 listeners", "router+listeners"),
    _load("pipeline", "Eight requests at once on a connection", "router", "pipeline"),
    _load("large-heads", "74 KiB of fields", "router+largeheads", "heads", 8),
    _load("post-chunks", "A kibibyte there in chunks of 64 bytes", "router", "bits"),
    _load("websocket", "WebSocket frames", "router+websocket+upgrades", "websocket"),
    _load("h2-websocket", "WebSocket frames over HTTP/2 to HTTP/1", "router+websocket+upgrades", "h2-websocket", 4),
    _load("bidi", "gRPC messages both ways on long calls", "router+h2up+echo", "bidi", 4),
    _load("server-stream", "gRPC messages on calls of 100 answers", "router+h2up+source", "server-stream", 4),
    _load("h2-frames", "HTTP/2, uploads of 64 KiB in frames of 256 bytes", "router+h2up+sink", "h2-frames", 4),
    _load("trickle", "1,000 connections with a request in two seconds each", "istio", "trickle", 1000),
    _load("slow", "A mebibyte to clients that read slowly", "router", "slow", 16),
)
