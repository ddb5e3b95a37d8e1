"""Binding the addresses that a configuration names, for one worker or for several."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from itertools import chain

from meshproxy.address import Address, PipeAddress
from meshproxy.model.listener import Listener
from meshproxy.model.snapshot import Snapshot
from meshproxy.runtime.admin.listeners import bound_addresses
from meshproxy.runtime.listening_socket import open_socket


class BindError(Exception):
    """An address that can't be had."""

    def __init__(self, owner: str, address: str, cause: OSError) -> None:
        reason = cause.strerror or str(cause)
        if isinstance(cause, PermissionError):
            reason += " (a port below 1024 needs CAP_NET_BIND_SERVICE)"
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
                for address in listening_addresses(listener):
                    _open_address(listener, address, opened)
    except BindError:
        for sockets in opened:
            for sock in chain.from_iterable(sockets.values()):
                sock.close()
        raise
    return opened


def _open_address(listener: Listener, address: Address, opened: list[dict[str, list[socket.socket]]]) -> None:
    first: socket.socket | None = None
    for sockets in opened:
        shared = first is not None and (isinstance(address, PipeAddress) or not listener.reuse_port)
        try:
            sock = first.dup() if first is not None and shared else open_socket(listener, address)
        except OSError as error:
            raise BindError(listener.name, address.text, error) from None
        if first is None:
            first = sock
            if not isinstance(address, PipeAddress) and address.port == 0:
                address = address.with_port(sock.getsockname()[1])
        sockets.setdefault(listener.name, []).append(sock)


def listening_addresses(listener: Listener) -> list[Address]:
    """Every address a listener binds."""
    return [listener.address, *listener.additional_addresses]


def bound_listeners(snapshot: Snapshot, sockets: Mapping[str, list[socket.socket]]) -> list[tuple[str, list[Address]]]:
    """Where each listener is, for `/listeners`."""
    return [
        (listener.name, bound_addresses(listener, sockets.get(listener.name, ()))) for listener in snapshot.listeners
    ]
