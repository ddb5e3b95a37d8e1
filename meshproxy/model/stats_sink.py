"""Where statistics are sent by themselves (envoy.config.bootstrap.v3.Bootstrap.stats_sinks)."""

from __future__ import annotations

from meshproxy.address import Address
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class StatsSink:
    """A server that speaks a dialect of statsd: "statsd", "dogstatsd" or "graphite".

    Exactly one of address (datagrams) and cluster (a TCP connection) is set. prefix: before each name. max_bytes: lines
    are joined up to so many bytes in a datagram; 0 sends each by itself.
    """

    dialect: str
    address: Address | None = None
    cluster: str = ""
    prefix: str = "envoy"
    max_bytes: int = 0
