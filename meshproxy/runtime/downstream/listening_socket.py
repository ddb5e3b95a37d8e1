"""Listening sockets: opening one as the configuration has it, and what it tells of those it accepts."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence

from meshproxy.address import Address, PipeAddress, SocketAddress
from meshproxy.model.listener import Listener
from meshproxy.runtime.downstream.original_destination import plain_ip

_STREAM = int(socket.SOCK_STREAM)
_BareSocket = socket.SocketType  # what `socket.socket` is made of: no enumerations, no closing by itself

# linux/in.h and linux/in6.h; Python's socket module has no names for them.
_IPPROTO_MPTCP = 262
_IP_FREEBIND = 15
_IP_TRANSPARENT = 19
_IPV6_TRANSPARENT = 75


def open_socket(listener: Listener, address: SocketAddress | PipeAddress, *, listening: bool = True) -> socket.socket:
    """A bound, non-blocking socket. listening: connections may be made to it at once. Raises OSError."""
    if isinstance(address, PipeAddress):
        return _open_pipe(address, listener.tcp_backlog_size if listening else None)
    family = socket.AF_INET6 if address.is_v6 else socket.AF_INET
    before, later = listener.additional_options.get(address, (listener.socket_options, listener.later_socket_options))
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, _IPPROTO_MPTCP if listener.mptcp else 0)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address.is_v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if listener.ipv4_compat else 1)
        if listener.transparent:
            if address.is_v6:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
            else:
                sock.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        if listener.freebind:
            sock.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        for level, name, value in before:
            sock.setsockopt(level, name, value)
        sock.bind((address.ip, address.port))
        for level, name, value in later:
            sock.setsockopt(level, name, value)
        if listening:
            sock.listen(listener.tcp_backlog_size)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_pipe(address: PipeAddress, backlog: int | None) -> socket.socket:
    """A Unix socket; what an earlier run left under its path is removed, if it is a socket."""
    name = address.bind_name
    named = not name.startswith("\0")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if named and _is_socket(name):
            os.unlink(name)
        if address.mode:
            os.fchmod(sock.fileno(), address.mode)  # so that it is never open to more than it says
        sock.bind(name)
        if address.mode:
            os.chmod(name, address.mode)  # the mask of the process may have taken bits away
        if backlog is not None:
            sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


class OwnName:
    """What is known of the sockets that a listening socket accepts, before it accepts them.

    fixed: their local address, unless the listener is bound to a wildcard address or to others' (TPROXY).
    """

    __slots__ = ("family", "fixed", "is_unix", "is_v4")

    def __init__(self, listening: socket.socket) -> None:
        self.family = int(listening.family)
        self.is_unix = listening.family == socket.AF_UNIX
        self.is_v4 = listening.family == socket.AF_INET
        self.fixed: tuple[str, int] | None = None
        if not self.is_unix and not _is_transparent(listening):
            ip, port = self.of(listening.fileno())
            if ip not in ("0.0.0.0", "::"):
                self.fixed = ip, port

    def of(self, descriptor: int) -> tuple[str, int]:
        """The local address of a socket of this family."""
        sock = _BareSocket(self.family, _STREAM, 0, descriptor)
        try:
            name = sock.getsockname()
        finally:
            sock.detach()
        return plain_ip(name[0]), name[1]


def _is_transparent(listening: socket.socket) -> bool:
    if listening.family == socket.AF_INET6:
        return bool(listening.getsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT))
    return bool(listening.getsockopt(socket.SOL_IP, _IP_TRANSPARENT))


def bound_addresses(listener: Listener, sockets: Sequence[socket.socket]) -> list[Address]:
    """Where a listener is; a port 0 has become the port that the kernel chose."""
    addresses: list[Address] = [listener.address, *listener.additional_addresses]
    for index, sock in enumerate(sockets[: len(addresses)]):
        address = addresses[index]
        if isinstance(address, SocketAddress) and address.port == 0:
            addresses[index] = address.with_port(sock.getsockname()[1])
    return addresses
