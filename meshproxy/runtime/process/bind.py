"""Binding the addresses that a configuration names, for one worker or for several."""

from __future__ import annotations

import errno
import socket
from itertools import chain

from meshproxy.address import BoundAddress, InternalAddress, PipeAddress
from meshproxy.model.listener import Listener
from meshproxy.model.snapshot import Snapshot
from meshproxy.runtime.downstream.listening_socket import open_socket
from meshproxy.runtime.process.hot_restart import Inherited

_NOTHING = Inherited()


class BindError(Exception):
    """An address that can't be had."""

    def __init__(self, owner: str, address: str, cause: OSError) -> None:
        reason = cause.strerror or str(cause)
        if isinstance(cause, PermissionError):
            reason += " (a port below 1024 needs CAP_NET_BIND_SERVICE)"
        elif cause.errno == errno.EADDRINUSE:
            reason += " (`ss -ltnp` tells by whom)"
        elif cause.errno == errno.EADDRNOTAVAIL:
            reason += " (no interface of this machine has it: see `ip addr`)"
        super().__init__(f"cannot bind '{address}' for {owner}: {reason}")


def open_listeners(snapshot: Snapshot, copies: int = 1) -> list[dict[str, list[socket.socket]]]:
    """Bind the listeners' sockets: for each of `copies` workers, by listener name, one for each address.

    Workers of a listener without `enable_reuse_port` (and those on a path) share one socket. Raises BindError;
    then none stays open.
    """
    opened: list[dict[str, list[socket.socket]]] = [{} for _ in range(copies)]
    try:
        for listener in snapshot.listeners:
            if listener.bind_to_port:
                for sockets, own in zip(opened, open_addresses(listener, copies), strict=True):
                    sockets[listener.name] = own
    except BindError:
        for sockets in opened:
            for sock in chain.from_iterable(sockets.values()):
                sock.close()
        raise
    return opened


def open_addresses(
    listener: Listener, copies: int = 1, *, listening: bool = True, inherited: Inherited | None = None
) -> list[list[socket.socket]]:
    """Bind one listener's sockets: for each of `copies` workers, one for each address.

    listening: connections may be made to them at once. inherited: sockets of an older process, which are taken first.
    Raises BindError; then none stays open.
    """
    opened: list[list[socket.socket]] = [[] for _ in range(copies)]
    try:
        for address in listening_addresses(listener):
            _open_address(listener, address, opened, listening, inherited or _NOTHING)
    except BindError:
        for sock in chain.from_iterable(opened):
            sock.close()
        raise
    return opened


def _open_address(
    listener: Listener, address: BoundAddress, opened: list[list[socket.socket]], listening: bool, inherited: Inherited
) -> None:
    first: socket.socket | None = None
    for sockets in opened:
        shared = first is not None and (isinstance(address, PipeAddress) or not listener.reuse_port)
        try:
            if first is not None and shared:
                sock = first.dup()
            else:
                sock = inherited.take(address) or open_socket(listener, address, listening=listening)
        except OSError as error:
            raise BindError(listener.name, address.text, error) from None
        if first is None:
            first = sock
            if not isinstance(address, PipeAddress) and address.port == 0:
                address = address.with_port(sock.getsockname()[1])
        sockets.append(sock)


def listening_addresses(listener: Listener) -> list[BoundAddress]:
    """Every address a listener binds."""
    if isinstance(listener.address, InternalAddress):
        return []
    return [listener.address, *listener.additional_addresses]
