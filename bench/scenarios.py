"""What is measured, and the target of each: the ratio to Envoy that meshproxy promises not to exceed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """Requests as fast as `connections` allow: each sends its next when it has its answer.

    config: the file in `bench/configs`, and what is put on it, see `dress`; kind: of request, see `requests.lua`, or
        of those of `load_h2`, or "handshake", see `load_tls`; target: of CPU time per request.
    """

    name: str
    title: str
    config: str
    connections: int
    kind: str
    target: float | None


@dataclass(frozen=True, slots=True)
class Footprint:
    """A fresh process of each: time to its first answer, memory at rest, memory per connection that does nothing."""

    name: str
    title: str
    config: str
    connections: int
    target_rss: float
    target_per_connection: float


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a filter that does nothing costs a request, without sockets. Targets in microseconds; Envoy has no part."""

    name: str
    title: str
    target_plain_us: float
    target_async_us: float


@dataclass(frozen=True, slots=True)
class FilterCosts:
    """What each HTTP filter adds to a request; see `filters`."""

    name: str
    title: str


Scenario = Load | Footprint | Hooks | FilterCosts

SCENARIOS: tuple[Scenario, ...] = (
    Load("http-1", "HTTP/1, 1 connection", "istio", 1, "mesh", None),
    Load("http-32", "HTTP/1, 32 connections", "istio", 32, "mesh", 0.95),
    Load("http-256", "HTTP/1, 256 connections", "istio", 256, "mesh", 0.8),
    Load("chain-32", "HTTP/1, rbac to retries, 32 connections", "chain", 32, "mesh", 1.0),
    Load("chain-256", "HTTP/1, rbac to retries, 256 connections", "chain", 256, "mesh", 0.8),
    Load("router-32", "HTTP/1, router only, 32 conn.", "router", 32, "mesh", None),
    Load("tcp-32", "TCP, small messages, 32 conn.", "tcp", 32, "small", 0.9),
    Load("new-conn", "A connection per request, 32 at once", "istio", 32, "close", 1.0),
    Load("medium", "64 KiB, 32 connections", "router", 32, "medium", 1.0),
    Load("large", "A mebibyte, 4 connections", "router", 4, "large", 1.0),
    Load("upload", "An upload of 256 KiB, 4 connections", "router+bodies", 4, "upload", 1.0),
    Load("events", "100 events one by one, 32 connections", "router+bodies", 32, "small", 1.0),
    Load("h2-h1", "HTTP/2 to HTTP/1, 4 connections of 10 streams", "istio", 4, "h2", 1.2),
    Load("h2-h2", "HTTP/2 to HTTP/2, 4 connections of 10 streams", "istio+h2up", 4, "h2", 1.2),
    Load("grpc", "gRPC, unary, 4 connections of 10 streams", "istio+h2up", 4, "grpc", 1.3),
    Load("h2-large", "HTTP/2 to HTTP/2, a mebibyte, 4 connections of 2 streams", "router+h2up", 4, "h2-large", None),
    Load(
        "h2-upload",
        "HTTP/2 to HTTP/1, uploads of 256 KiB, 4 conn. of 2 streams",
        "router+bodies",
        4,
        "h2-upload",
        None,
    ),
    Load("tls-32", "HTTP/1 over TLS, 32 connections", "istio+tls", 32, "mesh", 1.0),
    Load("tls-bulk", "A mebibyte over TLS, 4 connections", "router+tls", 4, "large", 1.4),
    Load("handshake", "A mutual TLS handshake per request, 4 at once", "router+mtls", 4, "handshake", 1.8),
    Load("http-1000", "HTTP/1, 1000 connections", "istio", 1000, "mesh", 1.0),
    Load("both-16k", "16 KiB both ways", "router", 32, "both", 1.0),
    Load("chunks", "An upload of sixteen chunks", "router", 32, "chunks", 1.0),
    Load("fields", "50 header fields", "istio", 32, "fields", 1.0),
    Load("routes", "200 routes", "router+routes", 32, "mesh", 1.0),
    Load("hosts", "1,000 virtual hosts", "router+hosts", 32, "hosts", 1.0),
    Load("ring", "A ring of 1,000 hosts", "router+ring", 32, "mesh", 1.0),
    Load("text-log", "Access log of 25 operators", "router+textlog", 32, "mesh", 1.0),
    Load("json-log", "The same in JSON", "router+jsonlog", 32, "mesh", 1.0),
    Load("tracing", "Zipkin, every request", "router+tracing", 32, "mesh", 1.0),
    Load("direct", "Direct responses", "router+direct", 32, "mesh", 1.0),
    Load("redirect", "Redirects", "router+redirect", 32, "mesh", 1.0),
    Load("forbid", "Forbidden by rbac", "router+forbid", 32, "mesh", 1.0),
    Load("gzip", "15 KiB of JSON compressed", "router+gzip", 32, "json", 1.0),
    Load("retries", "A retry for each tenth request", "router+retries", 32, "mesh", 1.0),
    Load("authz", "ext_authz over HTTP", "router+authz", 32, "mesh", 1.0),
    Load("authz-grpc", "ext_authz over gRPC", "router+authzgrpc", 32, "mesh", 1.0),
    Load("ratelimit", "ratelimit over gRPC", "router+ratelimit", 32, "mesh", 1.0),
    Load("weighted", "weighted", "router+weighted", 32, "mesh", 1.0),
    Load("mirror", "mirror", "router+mirror", 32, "mesh", 1.0),
    Load("subsets", "subsets", "router+subsets", 32, "mesh", 1.0),
    Load("least", "least", "router+least", 32, "mesh", 1.0),
    Load("maglev", "maglev", "router+maglev", 32, "mesh", 1.0),
    Load("buffer", "buffer", "router+buffer", 32, "both", 1.0),
    Load("matching", "matching", "router+matching", 32, "mesh", 1.0),
    Load("guarded", "guarded", "router+guarded", 32, "mesh", 1.0),
    Load("h1-h2", "h1-h2", "istio+h2up", 32, "mesh", 1.0),
    Load("tcp-new", "tcp-new", "tcp", 32, "shut", 1.0),
    Load("tcp-large", "tcp-large", "tcp", 4, "large", 1.0),
    Load("mtls-32", "mtls-32", "istio+tls+tlsup", 32, "mesh", 1.0),
    Footprint("footprint", "Start and memory", "istio", 2000, 0.75, 0.3),
    Hooks("hooks", "A filter's hook", 0.15, 1.0),
    FilterCosts("filters", "What a filter adds to a request"),
)
