"""Opening connections to hosts, with what the cluster configures for their sockets.

    address -> a bound socket with its options -> connected (first of several addresses) -> PROXY header -> TLS or none

A socket has one owner at each step: whoever fails or is cancelled closes it, and once the transport has it nobody else
touches it (see `attach`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from meshproxy.address import INTERNAL_CLIENT, Address, InternalAddress, PipeAddress, SocketAddress
from meshproxy.model.cluster import HappyEyeballs
from meshproxy.runtime.attach import attach
from meshproxy.runtime.upstream.connections.auto_sni import NO_NAME, ServerName
from meshproxy.runtime.upstream.connections.internal_connection import UnknownListener, connect_internal
from meshproxy.runtime.upstream.connections.proxy_header import send_header

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.upstream.cluster import ActiveCluster


Source = tuple[str, int] | None
"""An address to connect from and the mark of its packets, 0 for none; None: as the cluster has it."""


class TransportFailure(OSError):
    """What a transport socket has against a connection. text: Envoy's transport failure reason."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text


def describe_failure(error: OSError, address: Address) -> str:
    """What Envoy says of a connect to `address` that failed (`%UPSTREAM_TRANSPORT_FAILURE_REASON%`)."""
    if isinstance(error, TransportFailure | UnknownListener):
        return error.text
    cause = os.strerror(error.errno) if error.errno else str(error)
    if isinstance(address, PipeAddress):  # the kernel knows at once
        return f"immediate connect error: {cause}|remote address:{address.text}"
    return f"delayed connect error: {cause}"


def local_text(transport: Any, host: Host) -> str:
    """Our end of a transport to a host as `ip:port`."""
    if isinstance(host.address, InternalAddress):
        return INTERNAL_CLIENT
    name = transport.get_extra_info("sockname")
    if not isinstance(name, tuple):
        return ""
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


async def open_connection(
    cluster: ActiveCluster, host: Host, protocol: Callable[[], Any], name: ServerName = NO_NAME
) -> Any:
    """Connect to `host`. name: what TLS is to ask for and to check, if not what is configured.

    Raises OSError, and nothing else: another exception is a fault of ours. It is logged and makes the connect fail, for
    who waits for the connection would wait for ever if it ended the task.
    """
    try:
        return await _opened(cluster, host, protocol, name)
    except OSError:
        raise
    except Exception as error:  # as the docstring says
        cluster.worker.log.error("connecting raised", cluster=cluster.config.name, exc_info=error)
        raise TransportFailure("internal error") from error


async def _opened(cluster: ActiveCluster, host: Host, protocol: Callable[[], Any], name: ServerName) -> Any:
    """Connect to `host`. Raises OSError."""
    loop = cluster.worker.loop
    config = cluster.config
    address = host.address
    tls = cluster.tls
    if isinstance(address, PipeAddress):
        unix = await _connect_unix(loop, address.bind_name)
        if tls is not None or cluster.proxies:
            await _announce(cluster, host, unix, name)
            return await _wrap(cluster, host, unix, protocol, name)
        _, made = await loop.create_unix_connection(protocol, sock=unix)
        return made
    more = host.more_addresses
    sock: socket.SocketType
    if isinstance(address, InternalAddress):
        sock = connect_internal(cluster, host, address, name)
    elif more:
        sock = await _first_connected(cluster, in_order((address, *more), config.happy_eyeballs), name.source)
    else:
        sock = await _connect(cluster, address, name.source)
    try:
        if cluster.proxies:
            await _announce(cluster, host, sock, name)
        return await _wrap(cluster, host, sock, protocol, name)
    except BaseException:
        sock.close()
        raise


def connect_at_once(cluster: ActiveCluster, host: Host, protocol: Any, name: ServerName = NO_NAME) -> bool:
    """Connect to a host on this machine without waiting, as far as that can be; False: nothing has been done.

    Without a task and a time limit a connection through tcp_proxy costs a tenth less.
    """
    address = host.address
    config = cluster.config
    if (
        not isinstance(address, SocketAddress)
        or not address.ip.startswith("127.")
        or cluster.tls is not None
        or cluster.proxies
        or host.more_addresses
        or config.bind is not None
        or name.source is not None
    ):
        return False
    try:
        sock = _open_socket(cluster, address, None)
    except OSError:
        return False  # whoever tries again says why
    try:
        if _connect_now(sock, address):
            return False
        attach(cluster.worker.loop, sock, protocol)
        return True
    finally:
        sock.close()  # nothing is left to close where it was handed over


async def _connect(cluster: ActiveCluster, address: SocketAddress, own: Source) -> socket.SocketType:
    """A socket that is connected to one address, with all that is configured for it. own: of the client."""
    sock = _open_socket(cluster, address, own)
    try:
        await _reach(cluster.worker.loop, sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_socket(cluster: ActiveCluster, address: SocketAddress, own: Source) -> socket.SocketType:
    config = cluster.config
    family = socket.AF_INET6 if address.is_v6 else socket.AF_INET
    sock = socket.SocketType(family, _STREAM)  # `socket.socket` would make an enumeration's member at each look
    try:
        if config.tcp_keepalive is not None:
            idle, interval, probes = config.tcp_keepalive
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, number in (
                (socket.TCP_KEEPCNT, probes),
                (socket.TCP_KEEPIDLE, idle),
                (socket.TCP_KEEPINTVL, interval),
            ):
                if number:
                    sock.setsockopt(socket.IPPROTO_TCP, option, number)
        if own is not None:
            _bind_to_client(cluster, sock, own, v6=address.is_v6)
        elif config.bind is not None:
            source = config.bind.ipv6 if address.is_v6 else config.bind.ipv4
            for level, option, value in source.options:
                sock.setsockopt(level, option, value)
            if source.address is not None:
                sock.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                try:
                    sock.bind(source.address)
                except OSError:
                    cluster.stats.bind_errors.inc()
                    raise
    except BaseException:
        sock.close()
        raise
    return sock


def _connect_now(sock: socket.SocketType, address: SocketAddress) -> int:
    """Begin to connect. Returns an error's number: 0 where the host has answered, EALREADY where it may yet.

    A host on this machine, as a sidecar's application is, has answered when the first call returns, and the second
    call says so: then the loop needn't watch the socket, which costs three system calls and a turn.
    """
    target = (address.ip, address.port)
    error = sock.connect_ex(target)
    return sock.connect_ex(target) if error == errno.EINPROGRESS else error


async def _reach(loop: asyncio.AbstractEventLoop, sock: socket.SocketType, address: SocketAddress) -> None:
    """Connect. Raises OSError."""
    error = _connect_now(sock, address)
    if error == errno.EALREADY:
        writable: asyncio.Future[None] = loop.create_future()
        loop.add_writer(sock.fileno(), _settle, writable)
        try:
            await writable
        finally:
            loop.remove_writer(sock.fileno())
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _bind_to_client(cluster: ActiveCluster, sock: socket.SocketType, own: tuple[str, int], *, v6: bool) -> None:
    """Bind to an address that may not be ours; its packets carry the mark."""
    ip, mark = own
    try:
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        else:
            sock.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        if mark:
            sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
        sock.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((ip, 0))
    except OSError:
        cluster.stats.bind_errors.inc()
        raise


def in_order(addresses: Sequence[SocketAddress], options: HappyEyeballs) -> list[SocketAddress]:
    """The addresses of an endpoint as they are tried: families by turns (RFC 8305 section 4)."""
    first_v6 = addresses[0].is_v6 if options.first_v6 is None else options.first_v6
    first = [address for address in addresses if address.is_v6 is first_v6]
    others = [address for address in addresses if address.is_v6 is not first_v6]
    ordered = first[: options.first_count] + others[:1]
    first, others = first[options.first_count :], others[1:]
    while first or others:
        ordered += first[:1] + others[:1]
        first, others = first[1:], others[1:]
    return ordered


async def _first_connected(
    cluster: ActiveCluster, addresses: Sequence[SocketAddress], own: Source
) -> socket.SocketType:
    """Connect to whichever address answers first: the next one is tried when one has failed, or after a while."""
    attempts: set[asyncio.Task[socket.SocketType]] = set()
    left = list(addresses)
    failure: BaseException | None = None
    try:
        while left or attempts:
            if left:
                if len(left) < len(addresses):
                    cluster.stats.upstream_cx_total.value += 1  # the first one is counted by who asked for it
                attempts.add(asyncio.ensure_future(_connect(cluster, left.pop(0), own)))
            done, attempts = await asyncio.wait(
                attempts, timeout=_NEXT_ADDRESS if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            connected = [attempt.result() for attempt in done if attempt.exception() is None]
            for spare in connected[1:]:
                spare.close()
            if connected:
                return connected[0]
            failure = next((attempt.exception() for attempt in done), failure)
        assert failure is not None
        raise failure
    finally:
        for attempt in attempts:
            attempt.add_done_callback(_close_late)
            attempt.cancel()


def _close_late(attempt: asyncio.Task[socket.SocketType]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _wrap(
    cluster: ActiveCluster, host: Host, sock: socket.SocketType, protocol: Callable[[], Any], name: ServerName
) -> Any:
    """A protocol on a connected socket, with TLS under it if that is configured."""
    loop = cluster.worker.loop
    if cluster.tls is not None:
        return await cluster.tls.connect(loop, sock, host, protocol, name)
    made = protocol()
    attach(loop, sock, made)
    return made


async def _announce(cluster: ActiveCluster, host: Host, sock: socket.SocketType, name: ServerName) -> None:
    """Write the PROXY protocol header, if this host gets one."""
    options = cluster.proxy_header(host)
    if options is not None:
        size = await send_header(cluster.worker.loop, sock, options, name.proxy)
        cluster.stats.upstream_cx_tx_bytes_total.value += size


async def _connect_unix(loop: asyncio.AbstractEventLoop, path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await loop.sock_connect(sock, path)
    except BaseException:
        sock.close()
        raise
    return sock


_STREAM = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
_NEXT_ADDRESS = 0.3
"""Seconds after which the next address of an endpoint is tried while one has not answered, as in Envoy."""
_IP_TRANSPARENT, _IPV6_TRANSPARENT, _SO_MARK = 19, 75, 36
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen at connect(), by the whole four-tuple
