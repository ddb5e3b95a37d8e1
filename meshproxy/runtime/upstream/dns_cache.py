"""Names that requests bring, and their addresses (Envoy: "DNS cache", of dynamic_forward_proxy).

A name is looked up when it is first asked for, off the path of other requests, and then again and again: after its TTL
(at least `min_refresh`), after `refresh_rate` where the answer has none, by back-off after a failure. The first address
counts. A name that once had an address keeps it through failures; one that nobody has used for `host_ttl` is forgotten
when it is due. Whoever waits for a first answer counts against the cache's circuit breaker.

Keys are "host:port", the port filled in, so one name with two ports is two entries, as in Envoy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from meshproxy.address import SocketAddress
from meshproxy.balance.backoff import JitteredBackoff
from meshproxy.balance.breaker import Resource
from meshproxy.model.forwarding import DnsCacheOptions
from meshproxy.plugin.context import Timer
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import StatNames
from meshproxy.runtime.dns.resolver import ResolveError
from meshproxy.runtime.upstream.connections.auto_sni import host_of

if TYPE_CHECKING:
    from meshproxy.runtime.worker import Worker

_NAMES = StatNames(
    counters=(
        "cache_load", "dns_address_filter_out", "dns_query_attempt", "dns_query_failure", "dns_query_success",
        "dns_query_timeout", "dns_rq_pending_overflow", "host_added", "host_address_changed", "host_overflow",
        "host_removed",
    ),
    gauges=("num_hosts", "circuit_breakers.rq_pending_open", "circuit_breakers.rq_pending_remaining"),
)  # fmt: skip


PENDING_OVERFLOW = LocalReply(
    503,
    b"Dynamic forward proxy pending request overflow",
    details="dynamic_forward_proxy_pending_request_overflow",
)
CACHE_OVERFLOW = LocalReply(503, b"DNS cache overflow", details="dns_cache_overflow")


def resolution_failure(details: str) -> LocalReply:
    """The reply for a name without an address."""
    text = details.replace(" ", "_")
    return LocalReply(503, b"DNS resolution failure", details=f"dns_resolution_failure{{{text}}}", flags="DF")


def split_authority(authority: str, default_port: int) -> tuple[str, str, int]:
    """The key of an authority, its host without brackets, and its port."""
    name = host_of(authority)
    bracketed = f"[{name}]" if authority.startswith("[") else name
    port_text = authority[len(bracketed) + 1 :]
    port = int(port_text) if port_text.isascii() and port_text.isdecimal() and len(port_text) <= 5 else default_port
    if not 0 < port < 65536:
        port = default_port
    return f"{bracketed}:{port}", name, port


class Entry:
    """One name. address: None while it has none. details: what came of the last look-up, as Envoy words it; failed:
    it got no answer. used_at: monotonic seconds."""

    def __init__(self, key: str, name: str, port: int, now: float) -> None:
        self.key = key
        self.name = name
        self.port = port
        self.address: SocketAddress | None = None
        self.more_addresses: tuple[SocketAddress, ...] = ()
        self.details = "not_resolved"
        self.used_at = now
        self.failed = False
        self.answered: asyncio.Event = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.timer: Timer | None = None
        self.backoff: JitteredBackoff | None = None


class DnsCache:
    """One cache of one worker. on_change: called with an entry whose address is new; on_remove: with one that goes."""

    def __init__(self, worker: Worker, options: DnsCacheOptions) -> None:
        self._worker = worker
        self._options = options
        self._resolver = worker.resolver(options.dns.resolver)
        self._entries: dict[str, Entry] = {}
        self.pending = Resource(options.max_pending_requests)
        self.on_change: list[Callable[[Entry], None]] = []
        self.on_remove: list[Callable[[Entry], None]] = []
        scope = self._scope = worker.stats.scope(f"dns_cache.{options.name}.")
        scope.declare(_NAMES)
        scope.before_read(self._fold)
        for host, port in options.preresolve:
            self._begin(f"{host}:{port}", host, port)

    def _fold(self) -> None:
        self._scope.gauge("num_hosts").set(len(self._entries))
        self._scope.gauge("circuit_breakers.rq_pending_open").set(int(self.pending.is_open))
        self._scope.gauge("circuit_breakers.rq_pending_remaining").set(self.pending.remaining)

    def _count(self, name: str) -> None:
        self._scope.counter(name).inc()

    @property
    def entries(self) -> list[Entry]:
        """All of them."""
        return list(self._entries.values())

    def peek(self, key: str) -> Entry | None:
        """The entry of a key, if there is one; it counts as used."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.used_at = self._worker.loop.time()
        return entry

    def prepare(self, authority: str, default_port: int) -> LocalReply | Awaitable[LocalReply | None] | None:
        """See `meshproxy.plugin.upstream.NameCache`."""
        key, name, port = split_authority(authority, default_port)
        if self.pending.is_open:
            self._count("dns_rq_pending_overflow")
            return PENDING_OVERFLOW
        entry = self._entries.get(key)
        if (
            entry is not None
            and entry.address is not None
            and (self._options.refresh_after_failure or not entry.failed)
        ):
            return None
        if entry is None:
            if len(self._entries) >= self._options.max_hosts:
                self._count("host_overflow")
                return CACHE_OVERFLOW
            entry = self._begin(key, name, port)
        elif entry.task is None:  # it had no address; that may have changed
            if entry.timer is not None:
                entry.timer.cancel()
            self._look_up(entry)
        return self._wait(entry)

    async def _wait(self, entry: Entry) -> LocalReply | None:
        self.pending.acquire()
        try:
            await entry.answered.wait()
        finally:
            self.pending.release()
        return None if entry.address is not None else resolution_failure(entry.details)

    def _begin(self, key: str, name: str, port: int) -> Entry:
        entry = self._entries[key] = Entry(key, name, port, self._worker.loop.time())
        dns = self._options.dns
        if dns.failure_base is not None:
            maximum = dns.failure_max or dns.failure_base * 10
            entry.backoff = JitteredBackoff(dns.failure_base, maximum, self._worker.rng)
        self._count("host_added")
        self._look_up(entry)
        return entry

    def _look_up(self, entry: Entry) -> None:
        entry.timer = None
        entry.answered.clear()
        self._count("dns_query_attempt")
        entry.task = self._worker.loop.create_task(self._resolve(entry))

    def _due(self, entry: Entry) -> None:
        if self._worker.loop.time() - entry.used_at > self._options.host_ttl:
            del self._entries[entry.key]
            self._count("host_removed")
            if entry.address is not None:
                for tell in self.on_remove:
                    tell(entry)
            return
        self._look_up(entry)

    async def _resolve(self, entry: Entry) -> None:
        options = self._options
        delay: float | None = None
        try:
            async with asyncio.timeout(options.query_timeout or None):
                answer = await self._resolver.resolve(entry.name, options.dns.lookup_family)
        except TimeoutError:
            self._count("dns_query_timeout")
            self._count("dns_query_failure")
            entry.details = "resolve_timeout"
        except ResolveError as error:
            self._count("dns_query_failure")
            entry.details = f"cares_failure:{error.wording}"
        else:
            self._count("dns_query_success")
            delay = max(answer.ttl or options.dns.refresh_rate, options.min_refresh)
            if answer.addresses:
                entry.details = "cares_success:Successful completion"
                self._take(entry, tuple(SocketAddress(ip, entry.port) for ip in answer.addresses))
            elif answer.exists:
                entry.details = "cares_norecords:DNS server returned answer with no data"
            else:
                entry.details = "cares_norecords:Domain name not found"
        entry.task = None
        entry.failed = delay is None
        entry.answered.set()
        if delay is not None:
            if entry.backoff is not None:
                entry.backoff.reset()
        elif options.refresh_after_failure:
            delay = entry.backoff.next() if entry.backoff is not None else options.dns.refresh_rate
        else:
            return  # the next request that names it asks again
        entry.timer = self._worker.schedule(delay, lambda: self._due(entry))

    def _take(self, entry: Entry, addresses: tuple[SocketAddress, ...]) -> None:
        if addresses == (entry.address, *entry.more_addresses):
            return
        entry.address, *more = addresses
        entry.more_addresses = tuple(more)
        self._count("host_address_changed")
        for tell in self.on_change:
            tell(entry)

    def close(self) -> None:
        """Look nothing up any more."""
        for entry in self._entries.values():
            if entry.task is not None:
                entry.task.cancel()
            if entry.timer is not None:
                entry.timer.cancel()
