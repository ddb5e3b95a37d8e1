"""Connections within the program: from a cluster to an *internal listener*, which has a name and no socket.

    endpoint `envoy://listener/id` -> a pair of connected sockets -> ours goes on as any connection to a host,
                                                                     theirs is accepted by the listener

What stands before the listener is known on both sides, so the connection brings it along: the filter state that is
shared with upstreams, and the metadata that the transport socket `internal_upstream` names.

Invariant: the listener is looked up again when its turn comes; one that is gone by then refuses.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from meshproxy.address import InternalAddress
from meshproxy.plugin.listener import Socket
from meshproxy.plugin.stream_info import HashableString, StreamInfo
from meshproxy.runtime.upstream.connections.auto_sni import ServerName

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.upstream.cluster import ActiveCluster

NOWHERE = ("", 0)
"""The address of either end, as long as no filter has restored another."""


class SharedState:
    """Objects of a filter state: name, value, and whether they are shared further.

    Connections that bring different hashable objects along can't stand for each other; of the others the first request
    of a connection decides, as in Envoy.
    """

    __slots__ = ("_parts", "objects")

    def __init__(self, objects: tuple[tuple[str, object, bool], ...]) -> None:
        self.objects = objects
        self._parts = tuple((name, value) for name, value, _ in objects if isinstance(value, HashableString))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SharedState) and other._parts == self._parts

    def __hash__(self) -> int:
        return hash(self._parts)


def shared_state(info: StreamInfo | None) -> SharedState | None:
    """What a stream or connection shares with its upstreams; None for nothing."""
    if info is None:
        return None
    shared = {**(info.connection.shared_state or {}), **(info.shared_state or {})}
    state = info.known_state if shared else None
    if not state:
        return None
    return SharedState(tuple((name, state[name], further) for name, further in shared.items() if name in state))


def connect_internal(cluster: ActiveCluster, host: Host, address: InternalAddress, name: ServerName) -> socket.socket:
    """Our end of a new connection to an internal listener. Raises OSError."""
    worker = cluster.worker
    listener = worker.internal_listeners.get(address.listener)
    if listener is None:
        raise UnknownListener(address)
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, listener.config.internal_buffer)
    facts = Socket(NOWHERE, NOWHERE, NOWHERE, NOWHERE, internal=address.text, metadata=_metadata(cluster, host))
    if name.shared is not None and cluster.wrapping(host).passing is not None:
        facts.filter_state = {key: value for key, value, _ in name.shared.objects}
        facts.shared_state = {key: True for key, _, further in name.shared.objects if further}
    worker.loop.call_soon(_arrive, worker.internal_listeners, address.listener, theirs, facts)
    return ours


def _arrive(listeners: Mapping[str, Any], name: str, sock: socket.socket, facts: Socket) -> None:
    listener = listeners.get(name)
    if listener is None:
        sock.close()
    else:
        listener.accept_internal(sock, facts)


def _metadata(cluster: ActiveCluster, host: Host) -> dict[str, dict[str, Any]] | None:
    """A copy, for whoever is there may change it."""
    passing = cluster.wrapping(host).passing
    if passing is None or not passing.metadata:
        return None
    of_kind = {"host": host.metadata, "cluster": cluster.config.metadata}
    found = {name: of_kind[kind][name] for kind, name in passing.metadata if name in of_kind[kind]}
    return deepcopy(found) if found else None


class UnknownListener(OSError):
    """No internal listener has this name."""

    def __init__(self, address: InternalAddress) -> None:
        super().__init__(errno.EINVAL, os.strerror(errno.EINVAL))
        self.text = f"immediate connect error: {os.strerror(errno.EINVAL)}|remote address:{address.text}"
