"""Names to addresses: a stub resolver that knows how long an answer holds and never blocks the loop.

The C library's `getaddrinfo` blocks a thread for each name and says nothing of TTLs, so the name servers of
/etc/resolv.conf are asked directly: /etc/hosts first, then UDP, and TCP when the answer didn't fit, with search
domains, as `resolv.conf(5)` describes; time-outs and tries are Envoy's (CaresDnsResolverConfig).

Each question goes out from a socket of its own, connected to the server, with a random id: a forged answer has to guess
port and id, and the question has to match. Whatever doesn't is passed over.

Two outcomes are told apart, as in Envoy: a server that says that there is no such name or address is an answer (without
addresses), no answer is a `ResolveError`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from random import SystemRandom

from meshproxy.address import canonical_ip, is_ip
from meshproxy.model.dns import DnsResolverOptions
from meshproxy.records import dataclass
from meshproxy.runtime.dns.dns_message import (
    AAAA,
    NOERROR,
    NXDOMAIN,
    A,
    Answer,
    MalformedAnswer,
    decode_answer,
    encode_query,
)
from meshproxy.runtime.dns.resolv_conf import ResolvConf, WatchedFile, parse_hosts, parse_resolv_conf

_MAX_DATAGRAM = 4096
_MAX_AT_ONCE = 64
_CODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}

_WORDINGS = {
    1: "DNS server claims query was misformatted",
    4: "DNS server does not implement requested operation",
    5: "DNS server refused query",
}

_random = SystemRandom()


class ResolveError(Exception):
    """Nobody could say what addresses the name has. wording: how c-ares would put it, for logs that compare with it."""

    def __init__(self, text: str, wording: str = "Could not contact DNS servers") -> None:
        super().__init__(text)
        self.wording = wording


@dataclass(frozen=True, slots=True)
class Resolution:
    """The addresses of a name, maybe none, and for how many seconds they may be kept (0: not said).

    exists: there is such a name, be it without addresses.
    """

    addresses: tuple[str, ...]
    ttl: float = 0.0
    exists: bool = False


_NOTHING = Resolution(())
_NO_SERVERS = ResolvConf().servers


class Resolver:
    """Asks the name servers of `options`, or those of the system. Make one for each `DnsResolverOptions`."""

    def __init__(
        self,
        options: DnsResolverOptions | None = None,
        resolv_conf: str = "/etc/resolv.conf",
        hosts: str = "/etc/hosts",
    ) -> None:
        self._options = options or DnsResolverOptions()
        self._resolv_conf = WatchedFile(resolv_conf, parse_resolv_conf)
        self._hosts = WatchedFile(hosts, parse_hosts)
        self._turn = 0
        self._places = asyncio.Semaphore(_MAX_AT_ONCE)

    async def resolve(self, name: str, family: str) -> Resolution:
        """Look `name` up. family: see `DnsOptions.lookup_family`. Raises ResolveError."""
        if is_ip(name):
            return Resolution((canonical_ip(name),))
        if family == "V4_ONLY":
            return await self._look_up(name, A)
        if family == "V6_ONLY":
            return await self._look_up(name, AAAA)
        if family == "ALL":
            return await self._both(name)
        first, second = (A, AAAA) if family == "V4_PREFERRED" else (AAAA, A)
        try:
            found = await self._look_up(name, first)
        except ResolveError:
            found = _NOTHING
        return found if found.addresses else await self._look_up(name, second)

    async def _both(self, name: str) -> Resolution:
        results = await asyncio.gather(self._look_up(name, AAAA), self._look_up(name, A), return_exceptions=True)
        found = [result for result in results if isinstance(result, Resolution)]
        if not found:
            raise next(result for result in results if isinstance(result, BaseException))
        ttls = [resolution.ttl for resolution in found if resolution.addresses]
        addresses = tuple(ip for resolution in found for ip in resolution.addresses)
        return Resolution(addresses, min(ttls, default=0.0))

    async def _look_up(self, name: str, kind: int) -> Resolution:
        local = self._from_hosts(name.lower().rstrip("."), kind)
        if local is not None:
            return local
        system = self._resolv_conf.read()
        exists = False
        async with self._places:
            for candidate in self._candidates(name, system):
                try:
                    answer = await self._ask(candidate, kind, system)
                except ValueError as error:
                    raise ResolveError(str(error), "Misformatted domain name") from error
                if answer.addresses:
                    return Resolution(answer.addresses, float(answer.ttl), True)
                exists = exists or answer.code == NOERROR
        return Resolution((), 0.0, exists)

    def _from_hosts(self, name: str, kind: int) -> Resolution | None:
        known = self._hosts.read().get(name)
        if known is None:
            if name != "localhost" and not name.endswith(".localhost"):
                return None
            known = ("127.0.0.1", "::1")  # RFC 6761 section 6.3
        wanted = tuple(ip for ip in known if (":" in ip) == (kind == AAAA))
        return Resolution(wanted) if wanted else None

    def _candidates(self, name: str, system: ResolvConf) -> list[str]:
        """The names to try, in order (resolv.conf(5), `ndots`)."""
        if name.endswith(".") or not self._options.search or not system.search:
            return [name]
        searched = [f"{name}.{domain}" for domain in system.search]
        return [name, *searched] if name.count(".") >= system.ndots else [*searched, name]

    async def _ask(self, name: str, kind: int, system: ResolvConf) -> Answer:
        """What the first server that answers says. Raises ResolveError, and ValueError for what isn't a name."""
        options = self._options
        servers = self._servers(system)
        reason, wording = "no answer", "Could not contact DNS servers"
        timeout = options.timeout
        for _ in range(options.tries):
            for server in servers:
                try:
                    async with asyncio.timeout(timeout):
                        answer = await self._exchange(server, encode_query(_random.getrandbits(16), name, kind))
                except TimeoutError:
                    reason, wording = "no answer in time", "Timeout while contacting DNS servers"
                except (OSError, MalformedAnswer) as error:
                    reason = str(error)
                else:
                    if answer.code in (NOERROR, NXDOMAIN):
                        return answer
                    reason = _CODES.get(answer.code, f"code {answer.code}")
                    wording = _WORDINGS.get(answer.code, "DNS server returned general failure")
            timeout *= 2
        raise ResolveError(reason, wording)

    def _servers(self, system: ResolvConf) -> Sequence[tuple[str, int]]:
        servers = self._options.servers or system.servers
        if self._options.fallback and system.servers != _NO_SERVERS:
            servers = system.servers
        if not (self._options.rotate or system.rotate):
            return servers
        self._turn = (self._turn + 1) % len(servers)
        return servers[self._turn :] + servers[: self._turn]

    async def _exchange(self, server: tuple[str, int], query: bytes) -> Answer:
        if not self._options.use_tcp:
            answer = await _ask_udp(server, query)
            if not answer.truncated:
                return answer
        return await _ask_tcp(server, query)


def _open(server: tuple[str, int], kind: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    return socket.socket(family, kind | socket.SOCK_NONBLOCK)


def _address(server: tuple[str, int]) -> tuple[str, int] | tuple[str, int, int, int]:
    ip, _, zone = server[0].partition("%")
    return (ip, server[1], 0, socket.if_nametoindex(zone)) if zone else server


async def _ask_udp(server: tuple[str, int], query: bytes) -> Answer:
    loop = asyncio.get_running_loop()
    with _open(server, socket.SOCK_DGRAM) as sock:
        sock.connect(_address(server))
        sock.send(query)
        while True:
            message = await loop.sock_recv(sock, _MAX_DATAGRAM)
            try:
                return decode_answer(message, query)
            except MalformedAnswer:
                continue  # the true answer may still come; the time-out ends the wait


async def _ask_tcp(server: tuple[str, int], query: bytes) -> Answer:
    loop = asyncio.get_running_loop()
    with _open(server, socket.SOCK_STREAM) as sock:
        await loop.sock_connect(sock, _address(server))
        await loop.sock_sendall(sock, struct.pack("!H", len(query)) + query)
        length = int.from_bytes(await _receive(loop, sock, 2), "big")
        return decode_answer(await _receive(loop, sock, length), query)


async def _receive(loop: asyncio.AbstractEventLoop, sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise MalformedAnswer("the connection ended")
        data += piece
    return data
