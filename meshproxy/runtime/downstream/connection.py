"""A downstream connection: a socket on one side, a chain of network filters on the other.

It is the protocol object of its transport (callbacks only; no task, no stream reader) and the `Connection` that
network filters see. Bytes that were read go through `on_data` first to last, bytes that are written through
`on_write` last to first. With a single filter, the common case, a read costs one call more than none.

Back-pressure: the transport's buffer limit is the listener's `per_connection_buffer_limit_bytes`. Above it the filters
hear `on_write_blocked(True)` and stop whoever feeds them.

Invariants: nothing is written to a transport that is closing (uvloop raises in whoever's callback it is); `on_close` is
told once, and after that the filters are let go. How what is read goes through them is in `connection_reading`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.listener import AccessLog, Listener
from meshproxy.plugin.context import FactoryContext, Timer
from meshproxy.plugin.listener import Socket
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo
from meshproxy.runtime.downstream.connection_reading import ReadSide
from meshproxy.runtime.downstream.hooks import Suspended, run_hook
from meshproxy.runtime.drain import Drain
from meshproxy.runtime.grpc_client import call
from meshproxy.runtime.resetting import end_by_reset
from meshproxy.runtime.resetting import reset as send_reset
from meshproxy.runtime.sleeping import sleep
from meshproxy.runtime.worker import Worker

Maker = tuple[type[NetworkFilter[Any]], Any, FactoryContext]
"""Class, configuration and context of a network filter."""


class ServerConnection(ReadSide):
    """See the module. started: when it was accepted, in monotonic seconds. outwaited: we were closing, and the peer
    didn't do so within the delay.

    leaving: set when the listener or the filter chain that it came through was removed or replaced: the connection is
    to end within the drain time. chain: that filter chain, for who drains it.
    """

    leaving: Drain | None = None
    chain: Any = None
    outwaited = False
    give_up: Callable[[], None] | None = None  # ends a handshake that is still going on
    _stream: StreamInfo | None = None

    def __init__(
        self,
        worker: Worker,
        listener: Listener,
        makers: Sequence[Maker],
        facts: Socket,
        info: ConnectionInfo,
        on_closed: Callable[[ServerConnection], None],
    ) -> None:
        self.worker = worker
        self.clock = worker.clock
        self.clusters = worker.clusters
        self.listener = listener
        self.facts = facts
        self.info = info
        self.transport: Any = None
        self._on_closed = on_closed
        self._filters = filters = [make(config, context) for make, config, context in makers]
        self._sole = filters[0] if len(filters) == 1 else None
        self._tells_read_done = makers[-1][0].on_read_done is not NetworkFilter.on_read_done
        self._writers = [f for f in reversed(filters) if type(f).on_write is not NetworkFilter.on_write]
        self._closing = False
        self._hook_waits = self._keeps = False
        self.started = worker.loop.time()
        self._started_wall = worker.clock.wall()

    # What the transport calls.

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=self.listener.per_connection_buffer_limit)
        self._start(0)
        if self._read_disabled and not self._closing:
            # uvloop begins to read when this returns, whatever was said in here; what has come by then is kept.
            self._keeps = True
            self.worker.loop.call_soon(self._pause_if_still_wanted)

    def pause_writing(self) -> None:
        self._blocked(True)

    def resume_writing(self) -> None:
        self._blocked(False)

    def _blocked(self, blocked: bool) -> None:
        for network_filter in self._filters:
            network_filter.on_write_blocked(blocked, self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._closing = True
        self.info.ended = self.worker.loop.time()
        if isinstance(error, ConnectionResetError):
            self.info.detected_close_type = "RemoteReset"
        # Filters that haven't heard of a beginning (no handshake) don't hear of the end either.
        for position, network_filter in enumerate(self._filters if self.transport is not None else ()):
            try:
                (network_filter.on_close if position < self._begun else network_filter.on_refused)(self)
            except Exception as failure:  # a filter is foreign code; the others must hear of the end all the same
                self.worker.log.error("network filter failed", error=repr(failure))
        self._on_closed(self)
        # The filters know this connection. Without the way back both are gone now, not when the collector comes by.
        self._filters = []
        self._writers = []
        self._sole = None

    # What filters call; see `Connection`.

    def replace_terminal(self, successor: NetworkFilter[Any]) -> None:
        """From here on `successor` is the last filter of the chain. It is told of nothing that has been."""
        if self._sole is not None:
            self._sole = successor
        self._filters[-1] = successor
        self._tells_read_done = type(successor).on_read_done is not NetworkFilter.on_read_done

    @property
    def closed(self) -> bool:
        return self._closing

    @property
    def leaving_now(self) -> bool:
        return self.worker.closes(self)

    @property
    def busy(self) -> bool:
        """Whether something is in flight: a drain waits for it."""
        return any(network_filter.is_busy() for network_filter in self._filters)

    def announce_end(self) -> None:
        """Tell the peer, if its protocol can, that the connection will be closed."""
        if self._filters:
            self._filters[-1].on_drain(self)

    @property
    def terminal(self) -> NetworkFilter[Any] | None:
        """The last of its filters; None when they have been let go."""
        return self._filters[-1] if self._filters else None

    @property
    def stream(self) -> StreamInfo:
        """See `Connection`. Made when somebody asks: connections that HTTP is read from rarely need it."""
        stream = self._stream
        if stream is None:
            self._stream = stream = StreamInfo()
            stream.connection = self.info
            stream.dynamic_metadata = self.facts.metadata
            stream.filter_state = self.info.filter_state
            stream.shared_state = self.info.shared_state
            stream.start = self.started
            stream.start_wall = self._started_wall
        return stream

    @property
    def descriptor(self) -> int:
        """Of its socket; -1 before there is a transport."""
        raw = self.transport.get_extra_info("socket") if self.transport is not None else None
        return raw.fileno() if raw is not None else -1

    def original_destination(self) -> tuple[str, int] | None:
        return self.facts.local if self.facts.local_restored else None

    def write(self, data: bytes, end: bool = False) -> None:
        if self._closing:
            return
        for network_filter in self._writers:
            result = network_filter.on_write(data, end, self)
            if isinstance(result, bytes):
                data = result
        transport = self.transport
        if data:
            transport.write(data)
        if end and transport.can_write_eof():
            transport.write_eof()

    def close(self, *, reset: bool = False, delay: float = 0.0, give_up: float = 0.0) -> None:
        """See `Connection`. give_up: seconds after which a peer that takes nothing of what is left is cut off; 0: never
        (Envoy: `delayed_close_timeout`)."""
        if self._closing:
            return
        if self.transport is None:
            if self.give_up is not None:
                self.give_up()
            return
        if reset:
            self._closing = True
            send_reset(self.transport)
        elif delay > 0:
            self._close_later(delay)
        else:
            self._closing = True
            if self._held:
                end_by_reset(self.transport)  # the kernel resets a connection that is closed before all has been read
            self.transport.close()
        if give_up and not reset and self.transport.get_write_buffer_size():
            self.worker.schedule(delay + give_up, partial(self._check_flush, give_up, -1))

    def cut_off(self) -> None:
        """End at once; what hasn't been sent yet is lost."""
        if self.transport is not None and not self._lost:
            self._closing = True
            self.transport.abort()

    def _check_flush(self, give_up: float, before: int) -> None:
        if self._lost:
            return
        left = self.transport.get_write_buffer_size()
        if left == before:
            self.transport.abort()
        else:
            self.worker.schedule(give_up, partial(self._check_flush, give_up, left))

    def _close_later(self, delay: float) -> None:
        """Keep the socket open for `delay` seconds, reading into the void, unless the peer closes first.

        A FIN with unread data behind it becomes an RST, which would wipe out the answer before the peer reads it.
        """
        self._closing = True
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        self.worker.schedule(delay, self._waited_long_enough)

    def _waited_long_enough(self) -> None:
        if not self._lost:
            self.outwaited = True
            self.transport.close()

    def schedule(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self.worker.schedule(delay, partial(self._fire, callback))

    def _fire(self, callback: Callable[[], None]) -> None:
        if not self._closing:
            callback()

    def sleep(self, seconds: float) -> Awaitable[None]:
        return sleep(self.worker.loop, seconds)

    def run(self, work: Awaitable[None]) -> None:
        try:
            outcome = run_hook(self.worker.loop, work)
        except Exception as error:  # a filter is foreign code: its fault must stay its connection's
            self._ran(None, error)
            return
        if isinstance(outcome, Suspended):
            outcome.then(self._ran)

    def _ran(self, _: None, error: BaseException | None) -> None:
        if error is not None and not (self._closing or self._lost):
            self._fail(error)

    async def call_grpc(self, service: GrpcService, path: str, message: bytes) -> bytes:
        return await call(self.worker, service, path, message)

    def log_access(self, logs: Sequence[AccessLog], info: StreamInfo) -> None:
        self.worker.access_logs.log(logs, info)
