"""How names are resolved, by whoever does (envoy.config.cluster.v3.Cluster, envoy.extensions.network.dns_resolver)."""

from __future__ import annotations

from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class DnsResolverOptions:
    """Who is asked for addresses. servers: (ip, port); none: those of the system. search: try its search domains.

    fallback: `servers` are only asked where the system has none.
    timeout: seconds for each server's first answer, doubled with each further try.
    """

    servers: tuple[tuple[str, int], ...] = ()
    use_tcp: bool = False
    search: bool = True
    timeout: float = 5.0
    tries: int = 4
    rotate: bool = False
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class DnsOptions:
    """How STRICT_DNS and LOGICAL_DNS resolve; times in seconds.

    lookup_family: "AUTO" (v6, else v4), "V4_ONLY", "V6_ONLY", "V4_PREFERRED" or "ALL".
    """

    refresh_rate: float = 5.0
    respect_ttl: bool = False
    lookup_family: str = "AUTO"
    jitter: float = 0.0
    failure_base: float | None = None
    failure_max: float | None = None
    resolver: DnsResolverOptions = DnsResolverOptions()
