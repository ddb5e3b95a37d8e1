"""A gRPC service of ours, reached through one of our own clusters (envoy.config.core.v3.GrpcService), and a management
server (envoy.config.core.v3.ApiConfigSource)."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.model.cluster import ClusterConfig


@dataclass(frozen=True, slots=True)
class GrpcService:
    """One service.

    authority: of its requests. initial_metadata: header fields that every call carries.
    timeout: of a single call in seconds; None for no limit. max_message: the most bytes of a message from it; 0: any.
    skip_envoy_headers: leave out what Envoy's client says of itself (`x-envoy-internal`, `x-forwarded-for`).
    retry_base, retry_max: bounds of the back-off between streams, in seconds.
    own: the cluster itself when it is there for such services alone; equal services have equal names of it.
    """

    cluster: str
    authority: str
    initial_metadata: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None
    max_message: int = 0
    skip_envoy_headers: bool = False
    retry_base: float = 0.5
    retry_max: float = 30.0
    own: ClusterConfig | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ApiSource:
    """One management server, and how it is spoken to. Equal ones are the same.

    kind: "rest", "grpc" (state-of-the-world) or "delta_grpc". cluster: through which it is reached.
    grpc: for the latter two. refresh_delay, request_timeout: of REST, in seconds.
    max_requests, fill_rate: at most so many requests at once, and so many a second; 0 for no limit.
    node_once: the node is told in the first message of a stream only.
    """

    kind: str
    cluster: str
    grpc: GrpcService | None = None
    refresh_delay: float = 0.0
    request_timeout: float = 1.0
    max_requests: int = 0
    fill_rate: float = 0.0
    node_once: bool = False
