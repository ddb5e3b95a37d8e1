"""PROXY protocol towards hosts: what the header is made of
(envoy.extensions.transport_sockets.proxy_protocol.v3, envoy.config.core.v3.ProxyProtocolConfig)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.records import dataclass

Tlv = tuple[int, bytes]
"""Type and value of an entry of a header of version 2."""

TlvSource = tuple[int, Callable[[Any], bytes]]
"""Type of an entry, and what its value is made of a `StreamInfo` with."""


@dataclass(frozen=True, slots=True, eq=False)
class ProxyHeaderOptions:
    """version: 1 or 2. passed: types of the client's own entries that are passed on, None for all of them.

    added: entries of ours; one whose type the client has given, too, takes its place. unspecified: addresses such as
    0.0.0.0 are sent as they are. entries_part_pools: connections with other entries aren't shared.
    """

    version: int = 1
    passed: frozenset[int] | None = frozenset()
    added: tuple[TlvSource, ...] = ()
    unspecified: bool = False
    entries_part_pools: bool = False
