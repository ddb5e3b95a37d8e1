"""Clusters that forward to whatever host a request names (envoy.extensions.clusters.dynamic_forward_proxy)."""

from __future__ import annotations

from dataclasses import field

from meshproxy.model.dns import DnsOptions
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class DnsCacheOptions:
    """A cache of names, shared by all who name it. Times in seconds.

    dns: how names are resolved; its refresh_rate counts where the answer has no TTL. min_refresh: what a TTL counts at
    least. host_ttl: after so long without use a name is forgotten. preresolve: names and ports to look up at once.
    """

    name: str
    dns: DnsOptions = field(default_factory=lambda: DnsOptions(refresh_rate=60.0))
    min_refresh: float = 5.0
    host_ttl: float = 300.0
    max_hosts: int = 1024
    max_pending_requests: int = 1024
    query_timeout: float = 5.0
    refresh_after_failure: bool = True
    preresolve: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SubClusterOptions:
    """A cluster of its own for each name. ttl: seconds after which one is removed that nobody has used."""

    lb_policy: str = "ROUND_ROBIN"
    max_clusters: int = 1024
    ttl: float = 300.0


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """Of a cluster that forwards: exactly one of the two is set."""

    cache: DnsCacheOptions | None = None
    sub_clusters: SubClusterOptions | None = None
