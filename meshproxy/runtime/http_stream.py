"""One request on an HTTP/1 connection: the filter chain's stream with the wire behind it.

Below the filters it writes: heads and bodies that come in the same turn are joined and written once (`flush`). Above
them it is what the connection manager decides per request: route, cluster, plan, local replies, timeouts, statistics,
the access log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from meshproxy.chain.http_stream import FilterStream
from meshproxy.codec.h1_encode import LAST_CHUNK, NameWriter, encode_chunk, encode_response_head, encode_trailers
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.route import ForwardAction, WeightedCluster
from meshproxy.plugin.context import FactoryContext, FetchReply, Timer
from meshproxy.plugin.http import HttpFilter, TerminalHttpFilter
from meshproxy.plugin.replies import (
    MAX_DURATION_TIMEOUT,
    PAYLOAD_TOO_LARGE,
    REQUEST_IDLE_TIMEOUT,
    REQUEST_TIMEOUT,
    RESPONSE_TOO_LARGE,
    STREAM_IDLE_TIMEOUT,
    LocalReply,
)
from meshproxy.routing.finalize import choose_cluster, finalize_request
from meshproxy.routing.mutations import apply_mutations
from meshproxy.runtime.fetch import fetch
from meshproxy.runtime.grpc_timeout import grpc_duration
from meshproxy.runtime.hooks import run_hook
from meshproxy.runtime.http_edge import strip_response
from meshproxy.runtime.local_reply import shape_reply
from meshproxy.runtime.sleeping import sleep

if TYPE_CHECKING:
    from meshproxy.runtime.http_connection import HttpConnection

_JOIN_BELOW = 65536
_NO_FILTERS: list[HttpFilter[Any]] = []  # replaced, never changed


class HttpServerStream(FilterStream):
    """See the module. `owner` is the connection's codec side.

    The facts that every request sets are slots: CPython keeps at most 30 attributes of an instance in its compact form,
    and a stream has more. A slot hides the default of the base class, so `__init__` sets each of them.
    """

    __slots__ = (
        "_bodiless",
        "_head",
        "answered",
        "attempt_count",
        "bytes_sent",
        "clusters",
        "connection",
        "details",
        "done",
        "end",
        "filters",
        "last_activity",
        "on_wire",
        "owner",
        "plan",
        "protocol",
        "request",
        "request_end",
        "request_received",
        "response",
        "response_code",
        "route",
        "server",
        "start",
        "start_wall",
    )

    internal: bool = False
    raw_wanted: str = ""
    raw: bool = False
    tells_request_id: bool = False
    expected_here: bool = False
    close_after: bool = False
    weighted: WeightedCluster | None = None
    idle_timeout_of_route: bool = False
    _chunked: bool = False
    _until_close: bool = False
    _timers: list[Timer] | None = None
    _hooks: set[asyncio.Task[Any]] | None = None
    _read_disabled: int = 0
    _reads_anyway: int = 0
    _left: int = -1

    def __init__(self, owner: HttpConnection, request: RequestHeaders, end: bool, now: float) -> None:
        self.owner = owner
        connection = owner.connection
        self.connection = connection.info
        if connection.listener.per_connection_buffer_limit != self.body_limit:
            self.body_limit = connection.listener.per_connection_buffer_limit
        self.server = worker = owner.worker
        self.clusters = worker.clusters
        self.plan = owner.manager.default_plan
        self.protocol = "HTTP/1.1"
        self.request = request
        self.request_end = self.request_received = end
        self.start = self.last_activity = now
        self.start_wall = time.time()
        self.filters = _NO_FILTERS
        self.route = self.response = None
        self.answered = self.on_wire = self.done = False
        self.details = ""
        self.response_code = self.bytes_sent = self.attempt_count = 0
        self.end = 0.0
        self._head = b""
        self._bodiless = False
        if end:
            self.request_complete = now

    # Route.

    def choose_route(self) -> None:
        """Match the request, and choose the cluster if it is to be forwarded."""
        manager = self.owner.manager
        self.route = route = manager.routes.find(self.request, self)
        if route is None:
            return
        if route.name:
            self.route_name = route.name
        if route.metadata:
            self.route_metadata = route.metadata
        action = route.action
        if type(action) is ForwardAction:
            if action.cluster:
                self.cluster_name = self.upstream_cluster = action.cluster
            else:
                self.cluster_name, self.weighted = choose_cluster(action, self.request, manager.rng)
                self.upstream_cluster = self.cluster_name

    def clear_route(self) -> None:
        self.weighted = None
        self.cluster_name = self.upstream_cluster = self.route_name = ""
        self.route_metadata = None
        self.choose_route()

    def finalize_request(self, *, tell_original: bool = True) -> None:
        if self.route in self.owner.manager.changing_routes:
            finalize_request(self.route, self.weighted, self.request, self, tell_original=tell_original)

    def finalize_response(self, response: ResponseHeaders) -> None:
        if self.weighted is not None and self.weighted.response_mutations:
            apply_mutations(self.weighted.response_mutations, response, self)
        if self.route is not None and self.route.response_mutations:
            apply_mutations(self.route.response_mutations, response, self)

    # Timeouts.

    def arm(self) -> None:
        """Start the timers that this request's configuration asks for."""
        config = self.owner.manager.config
        if config.request_timeout and not self.request_received:
            self.schedule(config.request_timeout, self._request_timed_out)
        duration = config.max_stream_duration
        route = self.route
        if route is not None and isinstance(route.action, ForwardAction):
            if route.action.max_stream_duration is not None:
                duration = route.action.max_stream_duration
            duration = grpc_duration(route.action, self.request, duration)
            if route.action.idle_timeout is not None:
                self.idle_timeout_of_route = True
                if route.action.idle_timeout > 0:
                    self._arm_idle(route.action.idle_timeout)
        if duration:
            self.schedule(duration, self._duration_reached)

    def _arm_idle(self, timeout: float) -> None:
        self.schedule(timeout, partial(self.check_idle, timeout, True))

    def check_idle(self, timeout: float, again: bool = False) -> None:
        """End the stream if nothing has moved for `timeout` seconds."""
        if self.done:
            return
        left = self.last_activity + timeout - self.owner.worker.loop.time()
        if left > 0.001:
            if again:
                self.schedule(left, partial(self.check_idle, timeout, True))
            return
        self.owner.manager.stats.rq_idle_timeout.value += 1
        self.reply(STREAM_IDLE_TIMEOUT if self.request_received else REQUEST_IDLE_TIMEOUT)
        self.flush()

    def _request_timed_out(self) -> None:
        if not self.request_received:
            self.owner.manager.stats.rq_timeout.value += 1
            self.reply(REQUEST_TIMEOUT)
            self.flush()

    def _duration_reached(self) -> None:
        self.owner.manager.stats.rq_max_duration_reached.value += 1
        self.reply(MAX_DURATION_TIMEOUT)
        self.flush()

    # What filters call; see `Stream`.

    def schedule(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = self.owner.worker.schedule(delay, callback)
        if self._timers is None:
            self._timers = [timer]
        else:
            self._timers.append(timer)
        return timer

    def sleep(self, seconds: float) -> Awaitable[None]:
        return sleep(self.owner.worker.loop, seconds)

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
        return await fetch(self.owner.worker, cluster, request, body, timeout, max_body, tell_address)

    def read_disable(self, disable: bool) -> None:
        # What comes behind a complete request is bounded elsewhere, and a client that isn't read can leave unnoticed.
        if disable:
            if self.request_received:
                self._reads_anyway += 1
            elif not self.done:
                self._read_disabled += 1
                self.owner.connection.read_disable(True)
        elif self._reads_anyway:
            self._reads_anyway -= 1
        elif self._read_disabled:
            self._read_disabled -= 1
            self.owner.connection.read_disable(False)

    def request_ended(self, now: float) -> None:
        """The request has come whole."""
        self.request_received = True
        self.request_complete = now
        while self._read_disabled:
            self._read_disabled -= 1
            self._reads_anyway += 1
            self.owner.connection.read_disable(False)

    def send_informational(self, response: ResponseHeaders) -> None:
        if not self.owner.manager.config.proxy_100_continue and not self.expected_here:
            return  # as Envoy: a 1xx of the upstream ends here unless it was asked for
        if not self.done and not self.on_wire and response.status != 102:
            head, _ = encode_response_head(response, True, self.request.method, self.owner.parser.http10)
            self.owner.write(head)

    def accept_upgrade(self) -> None:
        self.raw = True
        self.owner.manager.stats.cx_upgrades_total.value += 1
        self.owner.manager.stats.cx_upgrades_active.value += 1
        self.request_received = False
        self.owner.parser.switch_to_raw()

    def block_response(self, blocked: bool) -> None:
        self.tell_blocked(blocked)

    def tell_blocked(self, blocked: bool) -> None:
        """Tell whoever answers that the client can't take more (True), or can again (False)."""
        terminal = self.filters[-1] if self._headers_passed else None
        if isinstance(terminal, TerminalHttpFilter) and not self.done:
            terminal.on_response_blocked(blocked, self)

    # The chain's needs.

    def run_hook(self, hook: Awaitable[Any], resume: Callable[..., None], *args: Any) -> Any:
        return run_hook(self.owner.worker.loop, hook, resume, args, self)

    def keep(self, task: asyncio.Task[Any]) -> None:
        if self._hooks is None:
            self._hooks = set()
        self._hooks.add(task)
        task.add_done_callback(self._hooks.discard)

    def report_failure(self, name: str, context: FactoryContext, error: Exception) -> None:
        context.stats.counter(f"filter.{name}.exceptions").inc()
        context.log.error("filter raised", filter=name, exc_info=error, request_id=self.request_id)

    def shape_reply(self, reply: LocalReply) -> tuple[ResponseHeaders, bytes]:
        self.close_after = self.close_after or reply.close
        if reply is PAYLOAD_TOO_LARGE:
            self.owner.manager.stats.rq_too_large.value += 1
        elif reply is RESPONSE_TOO_LARGE:
            self.owner.manager.stats.rs_too_large.value += 1
        return shape_reply(reply, self.owner.manager.config.local_reply, self)

    # The wire.

    def encode_headers(self, response: ResponseHeaders, end: bool) -> None:
        owner = self.owner
        config = owner.manager.config
        fields = response.fields
        status = response.status
        upgraded = self.raw and status == 101
        strip_response(response, upgraded=upgraded)
        now = owner.worker.loop.time()
        if "date" not in fields:
            fields["date"] = owner.worker.date(now)
        transformation = config.server_header_transformation
        if transformation == "OVERWRITE" or (transformation == "APPEND_IF_ABSENT" and "server" not in fields):
            fields["server"] = config.server_name
        if (config.always_set_request_id_in_response or self.tells_request_id) and self.request_id:
            fields["x-request-id"] = self.request_id
        if config.via:
            fields["via"] = f"{fields['via']}, {config.via}" if "via" in fields else config.via
        self.response_code = status
        self.first_downstream_tx = self.last_activity = now
        method = self.request.method
        parser = owner.parser
        keep_alive = not self._must_close(end)
        names = owner.names if response.written is None else NameWriter(response.written)
        try:
            if status < 200 and not upgraded:
                raise ValueError(f"{status} ends no request")
            head, self._chunked = encode_response_head(
                response, end, method, parser.http10, keep_alive or upgraded, names
            )
            self._bodiless = method == "HEAD" or status == 204 or status == 304
            if (
                "content-length" in fields
                and (self.details != "via_upstream" or self.plan.response_headers or self.plan.response_body)
                and not self._bodiless
            ):
                self._left = int(fields["content-length"])
                if end and self._left:
                    raise ValueError("a Content-Length, and no body")
        except Exception as error:  # filters have made of it what can't be written
            self._replace_unwritable(error)
            return
        if owner.meter is not None:
            owner.meter.head_sent(self, head)
        if not parser.keep_alive or (parser.http10 and b"\r\nconnection: close\r\n" in head):
            self.close_after = True
        owner.manager.stats.codes[status] += 1
        if end:
            owner.write(head)
            self._finish(now)
        else:
            self._head = head

    def _replace_unwritable(self, error: Exception) -> None:
        """Nothing of the response has been written: say that something went wrong, and close."""
        owner = self.owner
        owner.worker.log.error("response can't be written", error=repr(error), request_id=self.request_id)
        self.details = "response_unwritable"
        self.response_code = 500
        self.response = ResponseHeaders(500)
        self.close_after = True
        head, _ = encode_response_head(self.response, True, http10=owner.parser.http10, keep_alive=False)
        owner.manager.stats.codes[500] += 1
        owner.write(head)
        self._finish(owner.worker.loop.time())

    def _must_close(self, end: bool) -> bool:
        """Whether this response is the connection's last, so that its head must say so."""
        owner = self.owner
        if not self.request_received:
            owner.manager.stats.rq_response_before_rq_complete.value += 1
            if not self.raw:
                self.close_after = True
        if self.close_after or not owner.parser.keep_alive:
            return True
        if self.raw_wanted and not self.raw:
            self.close_after = True
            return True
        worker = owner.worker
        if owner.draining or (
            (worker.health_failed or worker.drain.active)
            and worker.closes_connections(owner.connection.listener.traffic_direction)
        ):
            # The connection stays for the drain time, for what the client has sent already.
            owner.manager.stats.cx_drain_close.value += 1
            owner.begin_drain()
            return True
        return False

    def encode_body(self, data: bytes, end: bool) -> None:
        if self._bodiless:
            data = b""
        elif self._left >= 0:
            self._left -= len(data)
            if self._left < 0 or (end and self._left):
                # Somebody has made the body longer or shorter than the head says: no next response may follow it.
                self.reset("response_length_mismatch")
                return
        self.bytes_sent += len(data)
        if self._chunked:
            data = (encode_chunk(data) if data else b"") + (LAST_CHUNK if end else b"")
        owner = self.owner
        if self._head:
            # Head and body came in one turn, so the head's time is the body's too.
            now = self.first_downstream_tx
            head, self._head = self._head, b""
            if len(data) < _JOIN_BELOW:
                data = head + data
            else:
                owner.write(head)
        else:
            now = owner.worker.loop.time()
        if data:
            owner.write(data)
        if end:
            self._finish(now)
        else:
            self.last_activity = now

    def encode_trailers(self, trailers: Headers) -> None:
        if not self._chunked or not self.owner.manager.config.http1.enable_trailers:
            self.encode_body(b"", True)
            return
        self.flush()
        self.owner.write(encode_trailers(trailers, self.owner.names))
        self._finish(self.owner.worker.loop.time())

    def flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self.owner.write(head)

    def reset(self, details: str = "", flags: str = "") -> None:
        """Cut the stream: on HTTP/1 only the end of the connection can say that a response is incomplete."""
        if self.done:
            return
        if flags:
            self.add_flag(flags)
        if details:
            self.details = details.replace(" ", "_")
        self.flush()
        self.owner.manager.stats.rq_tx_reset.value += 1
        self.close_after = True
        self._finish(self.owner.worker.loop.time(), cut=True)

    def abandon(self, details: str, flags: str) -> None:
        """The connection is gone under the stream."""
        if self.done:
            return
        if flags:
            self.add_flag(flags)
        if not self.response_code or details:
            self.details = details
        self._complete(self.owner.worker.loop.time())

    def _finish(self, now: float, cut: bool = False) -> None:
        """The response has been written: tell everybody, then let the connection go on or end."""
        owner = self.owner
        self.last_downstream_tx = now
        while self._read_disabled > 0:
            self._read_disabled -= 1
            owner.connection.read_disable(False)
        self._complete(now)
        owner.stream_finished(self, cut)

    def _complete(self, now: float) -> None:
        self.done = self.request_over = True
        self.end = now
        if self._timers is not None:
            for timer in self._timers:
                timer.cancel()
            self._timers = None
        if self._hooks is not None:
            for task in tuple(self._hooks):
                task.cancel()
        stats = self.owner.manager.stats
        stats.finished += 1
        if self.raw:
            stats.cx_upgrades_active.value -= 1
        stats.rq_time.record(int((now - self.start) * 1000))
        if self.plan.complete and self.filters:
            self.complete()
        config = self.owner.manager.config
        if config.access_logs:
            if self.owner.meter is not None:
                self.owner.meter.share(self, self.owner.parser)
            self.owner.worker.access_logs.log(config.access_logs, self)
        self.filters = _NO_FILTERS
