"""The name server of a pod on 15053, over UDP and TCP: the mesh's names at once, all others from elsewhere.

Queries that aren't ours are passed on as they are, over the protocol they came by, to each server of resolv.conf in
turn or to all of them at once (`DNS_FORWARD_PARALLEL`: the first answer counts). Bounded: so many queries on their way
at once, so long each; beyond that the client is told SERVFAIL.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Coroutine, Sequence
from typing import Any, cast

from meshproxy.agent.names.dns_answer import answer, refuse
from meshproxy.agent.names.name_table import NameTable
from meshproxy.plugin.context import Logger

FORWARD_WITHIN = 5.0
MOST_FORWARDED = 1000
_TCP_IDLE = 10.0
_ATTEMPTS = 20
"""How often a port that is free for datagrams is looked for until one is free for connections as well."""

Address = tuple[str, int]


class DnsServer:
    """One server. `table` may be replaced at any time. counts: answered here, passed on, failed, malformed."""

    def __init__(
        self,
        servers: Sequence[Address],
        log: Logger,
        *,
        rng: random.Random | None = None,
        within: float = FORWARD_WITHIN,
        parallel: bool = False,
    ) -> None:
        """servers: where other names are asked for, as (ip, port), tried in this order, or all at once (parallel)."""
        self.table = NameTable()
        self.counts = {"answered": 0, "forwarded": 0, "failed": 0, "malformed": 0}
        self.address: Address = ("", 0)
        self._servers = tuple(servers)
        self._log = log
        self._rng = rng or random.Random()
        self._within = within
        self._parallel = parallel
        self._on_their_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[asyncio.DatagramTransport | asyncio.Server] = []

    async def start(self, host: str, port: int) -> None:
        """Listen on both protocols, on one more address each time. Raises OSError.

        port: 0 takes one that is free on both.
        """
        loop = asyncio.get_running_loop()
        for attempts_left in reversed(range(1 if port else _ATTEMPTS)):
            udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(host, port))
            self.address = udp.get_extra_info("sockname")[:2]
            try:
                tcp = await asyncio.start_server(self._converse, host, self.address[1])
            except OSError:
                udp.close()
                if not attempts_left:
                    raise
            else:
                self._listening += (udp, tcp)
                break
        # A server that is one of our own clients would be asked for ever.
        self._servers = tuple(server for server in self._servers if server != self.address)

    def close(self) -> None:
        for each in self._listening:
            each.close()
        for task in self._tasks:
            task.cancel()

    async def resolve(self, query: bytes, *, tcp: bool) -> bytes | None:
        """The answer to a query, whoever gives it; None for what deserves none."""
        local = self._answer(query, tcp=tcp)
        if local is not None:
            return local or None
        if self._on_their_way >= MOST_FORWARDED:
            self.counts["failed"] += 1
            return refuse(query)
        self._on_their_way += 1
        try:
            return await self._forward(query, tcp=tcp)
        finally:
            self._on_their_way -= 1

    def _answer(self, query: bytes, *, tcp: bool) -> bytes | None:
        """What the table knows; b"" for what is no query; None for what has to be passed on."""
        try:
            found = answer(query, self.table, self._rng, tcp=tcp)
        except ValueError:
            self.counts["malformed"] += 1
            return b""
        if found is not None:
            self.counts["answered"] += 1
        return found

    async def _forward(self, query: bytes, *, tcp: bool) -> bytes | None:
        asking = [self._ask(server, query, tcp) for server in self._servers]
        reply = await (_first(asking) if self._parallel else _one_by_one(asking))
        self.counts["failed" if reply is None else "forwarded"] += 1
        return refuse(query) if reply is None else reply

    async def _ask(self, server: Address, query: bytes, tcp: bool) -> bytes | None:
        """What one server says; None for nothing."""
        try:
            async with asyncio.timeout(self._within):
                return await (_ask_tcp if tcp else _ask_udp)(server, query)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self._log.debug("name server", server=server[0], error=repr(error))
            return None

    def datagram(self, query: bytes, client: Address, through: asyncio.DatagramTransport) -> None:
        """A query came over UDP. What the table knows is answered without a task."""
        local = self._answer(query, tcp=False)
        if local is None:
            task = asyncio.ensure_future(self._answer_later(query, client, through))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif local:
            through.sendto(local, client)

    async def _answer_later(self, query: bytes, client: Address, through: asyncio.DatagramTransport) -> None:
        if self._on_their_way >= MOST_FORWARDED:
            self.counts["failed"] += 1
            reply = refuse(query)
        else:
            self._on_their_way += 1
            try:
                reply = await self._forward(query, tcp=False)
            finally:
                self._on_their_way -= 1
        if reply is not None and not through.is_closing():
            through.sendto(reply, client)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE):
                    query = await _read_framed(reader)
                reply = await self.resolve(query, tcp=True)
                if reply is None:
                    break
                writer.write(len(reply).to_bytes(2, "big") + reply)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._server.datagram(data, addr, self._transport)


async def _one_by_one(asking: Sequence[Coroutine[Any, Any, bytes | None]]) -> bytes | None:
    """The first that isn't None; those behind it aren't asked."""
    left = iter(asking)
    try:
        for each in left:
            reply = await each
            if reply is not None:
                return reply
        return None
    finally:
        for each in left:
            each.close()


async def _first(asking: Sequence[Coroutine[Any, Any, bytes | None]]) -> bytes | None:
    """The first that comes and isn't None."""
    tasks = [asyncio.ensure_future(each) for each in asking]
    try:
        for each in asyncio.as_completed(tasks):
            reply = await each
            if reply is not None:
                return reply
        return None
    finally:
        for task in tasks:
            task.cancel()


async def _read_framed(reader: asyncio.StreamReader) -> bytes:
    """A message with its length in front (RFC 1035 section 4.2.2)."""
    return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))


async def _ask_udp(server: Address, query: bytes) -> bytes:
    """A socket of its own for each query: its port is the half of a forger's guess (RFC 5452 section 4.5)."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(server)
        await loop.sock_sendall(sock, query)
        while True:
            reply = await loop.sock_recv(sock, 65535)
            if reply[:2] == query[:2]:
                return reply


async def _ask_tcp(server: Address, query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        return await _read_framed(reader)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
