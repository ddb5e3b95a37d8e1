"""What a filter chain asks of a connection, and what is known of a connection when its chain is chosen."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from meshproxy.address import CidrRange
from meshproxy.records import dataclass


class SourceType(Enum):
    """Envoy's `FilterChainMatch.ConnectionSourceType`."""

    ANY = 0
    SAME_IP_OR_LOOPBACK = 1
    EXTERNAL = 2


@dataclass(frozen=True, slots=True)
class FilterChainMatch:
    """Envoy's `listener.v3.FilterChainMatch`. An empty field asks for nothing.

    server_names: exact (`a.example.com`) or with one leading wildcard label (`*.example.com`), in any case.
    transport_protocol: `raw_buffer` or `tls`.
    """

    destination_port: int | None = None
    prefix_ranges: tuple[CidrRange, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    direct_source_prefix_ranges: tuple[CidrRange, ...] = ()
    source_type: SourceType = SourceType.ANY
    source_prefix_ranges: tuple[CidrRange, ...] = ()
    source_ports: tuple[int, ...] = ()


class ConnectionFacts(Protocol):
    """What a chain is chosen by; `meshproxy.plugin.Socket` is of this shape. Addresses are (canonical ip, port)."""

    @property
    def local(self) -> tuple[str, int]:
        """Where the client was going: the original destination where one was recovered, else the local address."""

    @property
    def remote(self) -> tuple[str, int]:
        """The client: as the PROXY protocol names it, else as the kernel does."""

    @property
    def direct_remote(self) -> tuple[str, int]:
        """The peer of the socket."""

    @property
    def server_name(self) -> str:
        """The SNI in lower case, "" without one."""

    @property
    def transport_protocol(self) -> str:
        """`tls`, or `raw_buffer`, for which "" stands too."""

    @property
    def application_protocols(self) -> tuple[str, ...]:
        """ALPN or what the HTTP inspector found, in the order the client prefers."""
