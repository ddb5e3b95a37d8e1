"""How a cluster asks its hosts whether they are well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshproxy.model.route import HeaderMutations
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class HttpCheck:
    """Ask for a path. host: "" for the endpoint's name for checks, else the cluster's name.

    service_matches: what the host must call its service in `x-envoy-upstream-healthchecked-cluster`, None for anything.
    expected, retriable: statuses as [start, end). receive: pieces that the body must contain, in this order.
    http2: ask over HTTP/2.
    """

    path: str
    host: str = ""
    method: str = "GET"
    send: bytes = b""
    receive: tuple[bytes, ...] = ()
    expected: tuple[tuple[int, int], ...] = ((200, 201),)
    retriable: tuple[tuple[int, int], ...] = ()
    mutations: HeaderMutations | None = None
    response_buffer_size: int = 1024
    http2: bool = False
    service_matches: Callable[[str], bool] | None = None


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Connect, send, and wait for the pieces in this order; without pieces to wait for connecting is enough."""

    send: bytes = b""
    receive: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GrpcCheck:
    """Ask gRPC's health service about `service` ("" for the server). authority: as `HttpCheck.host`."""

    service: str = ""
    authority: str = ""
    mutations: HeaderMutations | None = None


@dataclass(frozen=True, slots=True, eq=False)
class HealthCheck:
    """`core.v3.HealthCheck`. Times in seconds; those that aren't configured have been filled in.

    interval_jitter_percent: of the interval, added on top of `interval_jitter`. alt_port: 0 for the endpoint's own.
    alpn: the protocols offered in TLS, joined by ",", "" for what requests offer. socket_match: metadata that the
    transport socket is chosen by, None for the host's own.
    name: a part of the names of its statistics, "" for none.
    event_logs: the files that hosts found ill or well are written to. log_failures, log_successes: and each check.
    """

    check: HttpCheck | TcpCheck | GrpcCheck
    timeout: float
    interval: float
    unhealthy_threshold: int
    healthy_threshold: int
    initial_jitter: float = 0.0
    interval_jitter: float = 0.0
    interval_jitter_percent: int = 0
    no_traffic_interval: float = 60.0
    no_traffic_healthy_interval: float = 60.0
    unhealthy_interval: float = 0.0
    unhealthy_edge_interval: float = 0.0
    healthy_edge_interval: float = 0.0
    reuse_connection: bool = True
    alt_port: int = 0
    event_logs: tuple[str, ...] = ()
    log_failures: bool = False
    log_successes: bool = False
    alpn: str = ""
    socket_match: Mapping[str, Any] | None = None
    name: str = ""
