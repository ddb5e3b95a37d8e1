"""Which filter chain takes a connection where the listener has a matcher tree: the tree gives the chain's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from meshproxy.model.filter_chain import ConnectionFacts
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo

T = TypeVar("T")


def _text(address: tuple[str, int]) -> str:
    ip, port = address
    if not port:
        return ip
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


class TreeChainMatcher(Generic[T]):
    """Finds the chain of a connection, like `FilterChainMatcher`.

    A name that no chain has is no chain, without a default. Where the tree gives nothing the default takes it.
    """

    __slots__ = ("_chains", "_default", "_tree")

    def __init__(self, tree: Callable[[Any], str | None], chains: Mapping[str, T], default: T | None) -> None:
        self._tree = tree
        self._chains = chains
        self._default = default

    def find(self, facts: ConnectionFacts) -> T | None:
        """The chain for a connection; None when there is none."""
        stream = StreamInfo()
        stream.connection = connection = ConnectionInfo()
        connection.local_address = _text(facts.local)
        connection.remote_address = _text(facts.remote)
        connection.direct_remote_address = _text(facts.direct_remote)
        connection.requested_server_name = facts.server_name
        connection.transport = facts.transport_protocol or "raw_buffer"
        protocols = facts.application_protocols
        connection.alpn = ",".join([f"'{protocol}'" for protocol in protocols])
        name = self._tree(stream)
        return self._default if name is None else self._chains.get(name)
