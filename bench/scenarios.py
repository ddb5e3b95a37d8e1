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
    Footprint("footprint", "Start and memory", "istio", 2000, 0.75, 0.3),
    Hooks("hooks", "A filter's hook", 0.15, 1.0),
    FilterCosts("filters", "What a filter adds to a request"),
)
