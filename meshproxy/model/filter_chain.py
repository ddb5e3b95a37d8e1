"""What a filter chain asks of a connection, and what is known of a connection when its chain is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from meshproxy.address import CidrRange, SocketAddress


class SourceType(Enum):
    """Envoy's `FilterChainMatch.ConnectionSourceType`."""

    ANY = 0
    SAME_IP_OR_LOOPBACK = 1
    EXTERNAL = 2


@dataclass(frozen=True, slots=True)
class FilterChainMatch:
    """Envoy's `listener.v3.FilterChainMatch`. An empty field asks for nothing.

    server_names: lower case, exact (`a.example.com`) or with one leading wildcard label (`*.example.com`).
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


@dataclass(slots=True)
class ConnectionFacts:
    """What a chain is chosen by. None stands for a Unix socket, which no address range but the whole one holds.

    destination: the original destination where one was recovered, else the local address.
    source: the peer as the PROXY protocol names it, else as the kernel does; direct_source: always the kernel's.
    server_name: the SNI in lower case, "" without one. application_protocols: in the order the client prefers.
    """

    destination: SocketAddress | None
    source: SocketAddress | None
    direct_source: SocketAddress | None
    server_name: str = ""
    transport_protocol: str = "raw_buffer"
    application_protocols: tuple[str, ...] = ()
