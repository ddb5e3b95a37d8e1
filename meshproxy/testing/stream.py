"""A stream whose wire is a record: `chain`'s real pipeline between a test and a scripted upstream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import field
from typing import TYPE_CHECKING, Any, cast

from meshproxy.chain.http_plan import HttpPlan
from meshproxy.chain.http_stream import FilterStream
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.listener import AccessLog
from meshproxy.model.route import Route
from meshproxy.plugin.context import FactoryContext, FetchReply, GrpcCall, Stream, Timer
from meshproxy.plugin.http import TerminalHttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo
from meshproxy.records import dataclass
from meshproxy.routing.finalize import finalize_request
from meshproxy.routing.mutations import apply_mutations
from meshproxy.runtime.downstream.hooks import run_hook
from meshproxy.runtime.downstream.local_reply import shape_reply
from meshproxy.runtime.fetch import fetch
from meshproxy.runtime.grpc_call import OpenCall
from meshproxy.runtime.grpc_client import call, tell
from meshproxy.runtime.sleeping import sleep

if TYPE_CHECKING:
    from meshproxy.testing.http import FilterHarness


@dataclass(slots=True)
class Response:
    """What a scripted upstream answers; status 0: nothing."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    chunks: Sequence[bytes] = ()
    trailers: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Record:
    """What came of a request; see `Exchange`."""

    local_reply: LocalReply | None = None
    upstream_headers: RequestHeaders | None = None
    upstream_chunks: list[bytes] = field(default_factory=list)
    upstream_trailers: Headers | None = None
    upstream_complete: bool = False
    informational: list[ResponseHeaders] = field(default_factory=list)
    response: ResponseHeaders | None = None
    response_chunks: list[bytes] = field(default_factory=list)
    response_trailers: Headers | None = None
    complete: bool = False
    reset: str | None = None
    followed: bytes | None = None
    logged: list[StreamInfo] = field(default_factory=list)


class ScriptedTerminal(TerminalHttpFilter[Callable[[RequestHeaders], Response]]):
    """Stands where the router would: records the request and answers it by script, a piece each time round the loop."""

    def __init__(self, config: Callable[[RequestHeaders], Response], context: FactoryContext) -> None:
        super().__init__(config, context)
        self._steps: deque[Callable[[], None]] = deque()
        self._blocked = False
        self._stream: HarnessStream

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        self._stream = cast(HarnessStream, stream)
        stream.finalize_request()
        copy = RequestHeaders(request.method, request.path, request.authority, request.scheme, request.items())
        self._stream.record.upstream_headers = copy
        if stream.request_end:
            self._complete()

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> None:
        if data:
            self._stream.record.upstream_chunks.append(data)
        if end:
            self._complete()

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> None:
        self._stream.record.upstream_trailers = trailers
        self._complete()

    def on_response_blocked(self, blocked: bool, stream: Stream) -> None:
        self._blocked = blocked
        if not blocked:
            self._stream.harness.loop.call_soon(self._pump)

    def _complete(self) -> None:
        self._stream.record.upstream_complete = True
        self.answer(self.config(self._stream.request))

    def answer(self, answer: Response) -> None:
        """Send a response, piece by piece."""
        stream, steps = self._stream, self._steps
        if not answer.status:
            return
        response = ResponseHeaders(answer.status, answer.headers)
        last = len(answer.chunks) - 1
        ends = not answer.trailers
        steps.append(lambda: stream.send_headers(response, last < 0 and ends))
        for index, chunk in enumerate(answer.chunks):
            steps.append(lambda chunk=chunk, index=index: stream.send_body(chunk, index == last and ends))  # type: ignore[misc]  # defaults of a lambda
        if answer.trailers:
            steps.append(lambda: stream.send_trailers(Headers(answer.trailers)))
        stream.harness.loop.call_soon(self._pump)

    def _pump(self) -> None:
        if self._steps and not self._blocked and not self._stream.done:
            self._steps.popleft()()
            self._stream.harness.loop.call_soon(self._pump)


class HarnessStream(FilterStream):
    """The stream that filters under test are given."""

    def __init__(self, harness: FilterHarness, plan: HttpPlan, request: RequestHeaders, end: bool) -> None:
        self.harness = harness
        self.plan = plan
        self.request = request
        self.request_end = end
        self.record = Record()
        self.clusters = harness.clusters
        self.server = harness.server
        self.connection = ConnectionInfo()
        self.connection.local_address = self.connection.direct_local_address = "192.0.2.10:8080"
        self.connection.remote_address = self.connection.direct_remote_address = "192.0.2.20:40000"
        self.protocol = "HTTP/1.1"
        self.original_path = request.path
        self.start = harness.clock.now()
        self.start_wall = harness.clock.wall()
        if end:
            self.request_complete = self.start
        self._body_limit = harness.body_limit
        self.find_route: Callable[[], tuple[Route | None, str]] = lambda: (None, "")
        self.paused = 0
        self._timers: list[asyncio.TimerHandle] = []
        self._hooks: set[asyncio.Task[Any]] = set()

    def receive_body(self, data: bytes, end: bool) -> None:
        if end:
            self.request_complete = self.harness.clock.now()
        super().receive_body(data, end)

    def receive_trailers(self, trailers: Headers) -> None:
        self.request_complete = self.harness.clock.now()
        super().receive_trailers(trailers)

    @property
    def body_limit(self) -> int:
        return self._body_limit

    # What filters call.

    async def fetch(
        self,
        cluster: str,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        authority: str = "",
        timeout: float = 1.0,
        max_body: int = 1 << 20,
        tell_address: bool = True,
    ) -> FetchReply:
        request = RequestHeaders(method, path, authority or cluster, fields=headers)
        return await fetch(cast(Any, self.harness), cluster, request, body, timeout, max_body, tell_address)

    async def call_grpc(self, service: GrpcService, path: str, message: bytes) -> bytes:
        return await call(cast(Any, self.harness), service, path, message)

    def tell_grpc(self, service: GrpcService, path: str, message: bytes) -> None:
        tell(cast(Any, self.harness), service, path, message)

    def open_grpc(self, service: GrpcService, path: str) -> GrpcCall:
        return OpenCall(cast(Any, self.harness), service, path)

    def sleep(self, seconds: float) -> Awaitable[None]:
        return sleep(self.harness.loop, seconds)

    def schedule(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = self.harness.loop.call_later(delay, callback)
        self._timers.append(timer)
        return timer

    def send_informational(self, response: ResponseHeaders) -> None:
        if not self.done and not self.on_wire:
            self.record.informational.append(response)

    def reply(self, reply: LocalReply) -> None:
        if not self.done and self.record.local_reply is None:
            self.record.local_reply = reply
        super().reply(reply)

    def read_disable(self, disable: bool) -> None:
        self.paused += 1 if disable else -1

    def clear_route(self) -> None:
        self.route, self.cluster_name = self.find_route()

    def match_route(self) -> Route | None:
        return self.find_route()[0]

    def follow(self, response: ResponseHeaders, body: bytes) -> None:
        self.response = response
        self.response_code = response.status
        self.details = "internal_redirect"
        self.record.followed = body
        self._over()

    def finalize_request(self, *, tell_original: bool = True) -> None:
        if self.route is not None:
            finalize_request(self.route, None, self.request, self, tell_original=True)

    def finalize_response(self, response: ResponseHeaders) -> None:
        if self.route is not None and self.route.response_mutations:
            apply_mutations(self.route.response_mutations, response, self)

    def log_access(self, logs: Sequence[AccessLog], info: StreamInfo) -> None:
        self.record.logged.append(copy(info))

    def accept_upgrade(self) -> None:
        """Bytes are bytes to a record."""

    def flush(self) -> None:
        """A record joins nothing up."""

    def block_response(self, blocked: bool) -> None:
        terminal = self.filters[-1] if self._headers_passed else None
        if isinstance(terminal, TerminalHttpFilter) and not self.done:
            terminal.on_response_blocked(blocked, self)

    # What the chain needs.

    def run_hook(self, hook: Awaitable[Any]) -> Any:
        return run_hook(self.harness.loop, hook, self)

    def keep(self, task: asyncio.Task[Any]) -> None:
        self._hooks.add(task)
        task.add_done_callback(self._hooks.discard)

    @property
    def waiting(self) -> bool:
        """Whether a hook waits."""
        return bool(self._hooks)

    def report_failure(self, name: str, context: FactoryContext, error: Exception) -> None:
        context.stats.counter(f"filter.{name}.exceptions").inc()
        context.log.error("filter raised", filter=name, exc_info=error)
        self.harness.errors.append(error)

    def shape_reply(self, reply: LocalReply) -> tuple[ResponseHeaders, bytes]:
        return shape_reply(reply, None, self)

    def encode_headers(self, response: ResponseHeaders, end: bool) -> None:
        if self.record.response is not None:
            raise AssertionError("a second response head reached the wire")
        self.record.response = response
        self.response_code = response.status
        if end:
            self._finish()

    def encode_body(self, data: bytes, end: bool) -> None:
        if self.record.response is None or self.done:
            raise AssertionError("body outside a response reached the wire")
        if data:
            self.record.response_chunks.append(data)
            self.bytes_sent += len(data)
        if end:
            self._finish()

    def encode_trailers(self, trailers: Headers) -> None:
        self.record.response_trailers = trailers
        self._finish()

    def reset(self, details: str = "", flags: str = "") -> None:
        if self.done:
            return
        if flags:
            self.add_flag(flags)
        if details:
            self.details = details.replace(" ", "_")
        self.record.reset = details
        self._over()

    def _finish(self) -> None:
        self.record.complete = True
        self._over()

    def _over(self) -> None:
        self.done = self.request_over = True
        self.end = self.harness.clock.now()
        for timer in self._timers:
            timer.cancel()
        for task in tuple(self._hooks):
            task.cancel()
        self.complete()
