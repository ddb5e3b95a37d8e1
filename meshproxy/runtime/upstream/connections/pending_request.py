"""A request that waits in a pool until a connection has room for it."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from meshproxy.headers import Headers, RequestHeaders
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import HttpUpstream, HttpUpstreamSink

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.upstream.cluster import ActiveCluster


class Waits(Protocol):
    """A pool, as far as it is needed here."""

    @property
    def host(self) -> Host: ...
    @property
    def cluster(self) -> ActiveCluster: ...
    def abandon(self, pending: PendingRequest) -> None: ...


class Starts(HttpUpstream):
    """What a request can be sent on."""

    @abstractmethod
    def start(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> None:
        """Send the head. Raises ValueError for one that can't be written; then nothing was."""


class PendingRequest(HttpUpstream):
    """A request that waits for a connection. Its body is kept, and its sender stopped at the buffer limit.

    pool: where it waits.
    """

    def __init__(self, pool: Waits, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> None:
        self.host = pool.host
        self.request = request
        self.end = end
        self.sink = sink
        self.upstream: HttpUpstream | None = None
        self.pool = pool
        self._pieces: list[tuple[bytes | Headers, bool]] = []
        self._size = 0
        self._blocked = False
        self._since = pool.cluster.worker.loop.time()

    def send_body(self, data: bytes, end: bool) -> None:
        self._pieces.append((data, end))
        self._size += len(data)
        if not self._blocked and self._size > self.pool.cluster.config.per_connection_buffer_limit:
            self._blocked = True
            self.sink.on_upstream_blocked(True)

    def send_trailers(self, trailers: Headers) -> None:
        self._pieces.append((trailers, True))

    def flush(self) -> None:
        """Nothing can be written yet."""

    def read_disable(self, disable: bool) -> None:
        """There is nothing to read yet."""

    def reset(self) -> None:
        self.pool.abandon(self)

    def note_wait(self) -> None:
        """The wait is over, one way or the other."""
        info = getattr(self.sink, "stream_info", None)
        if info is not None:
            info.pool_ready = self.pool.cluster.worker.loop.time() - self._since

    def attach(self, upstream: Starts) -> None:
        """A connection is there: send what has come so far."""
        try:
            upstream.start(self.request, self.end, self.sink)
        except ValueError as error:
            self.sink.on_upstream_reset(ResetReason.LOCAL_RESET, str(error))
            return
        self.note_wait()
        self.sink.on_upstream_ready(upstream)
        for piece, end in self._pieces:
            if isinstance(piece, Headers):
                upstream.send_trailers(piece)
            else:
                upstream.send_body(piece, end)
        if not self.end:
            upstream.flush()
        if self._blocked:
            self.sink.on_upstream_blocked(False)


class RefusedRequest(HttpUpstream):
    """A request that there was no pool for; its sender has heard of that."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def send_body(self, data: bytes, end: bool) -> None:
        """It goes nowhere."""

    def send_trailers(self, trailers: Headers) -> None:
        """They go nowhere."""

    def flush(self) -> None:
        """There is nothing to write."""

    def read_disable(self, disable: bool) -> None:
        """There is nothing to read."""

    def reset(self) -> None:
        """It is over."""
