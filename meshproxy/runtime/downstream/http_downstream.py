"""What connections of the HTTP connection manager have in common, whatever codec they speak.

A connection has a life (statistics, idleness, duration, drain, close) and carries streams. What happens to a request
before its filters run is here too (`admit`), once for all codecs; how bytes become requests and responses become bytes
is the subclasses' part: `Http1Connection`, `Http2Connection`.

Invariants: whoever makes a stream counts it in `HttpStats.started`; the idle timer is one timer for the connection and
all of its streams.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.route import PathMatch, RedirectAction, Route
from meshproxy.plugin.context import Connection, FactoryContext, Timer
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.replies import PATH_NORMALIZATION_FAILED, QUERY_WITHOUT_TYPE, UPGRADE_FAILED, LocalReply
from meshproxy.plugin.stats import StatsScope
from meshproxy.runtime.downstream.connection import ServerConnection
from meshproxy.runtime.downstream.http_manager import HttpManager
from meshproxy.telemetry.request_id import NOT_TRACED, with_trace_reason

if TYPE_CHECKING:
    from meshproxy.runtime.downstream.http1_measuring import DownstreamMeter
    from meshproxy.runtime.downstream.http_stream import HttpServerStream
    from meshproxy.runtime.worker import Worker


def _https_location(request: RequestHeaders, stream: Any) -> str:
    return f"https://{request.authority}{request.path}"


_TO_HTTPS = Route(PathMatch("prefix"), RedirectAction(301, _https_location))
"""`require_tls`: to the same address under https (Envoy: SslRedirectRoute)."""


class DownstreamConnection(NetworkFilter[HttpManager]):
    """See the module."""

    terminal: ClassVar[bool] = True
    connection: ServerConnection
    worker: Worker
    meter: DownstreamMeter | None = None
    _last_end: float = 0.0
    _idle_timer: Timer | None = None
    _duration_timer: Timer | None = None
    _drain_timer: Timer | None = None
    _head_begun: bool = False
    _local_close: bool = False

    def __init__(self, config: HttpManager, context: FactoryContext) -> None:
        self.config = self.manager = config
        self.context = context
        self.draining = False

    @classmethod
    def for_worker(cls, config: Any, context: FactoryContext, listener_stats: StatsScope) -> HttpManager:
        """The compiled options (`HttpConnectionManagerConfig`) become what this worker's connections share."""
        manager = HttpManager(config, context)
        manager.attach_to_listener(listener_stats)
        return manager

    # What the connection calls.

    def on_new_connection(self, connection: Connection) -> None:
        assert isinstance(connection, ServerConnection)
        stats = self.manager.stats
        stats.cx_total.value += 1
        stats.cx_active.value += 1
        if connection.info.tls is not None:
            stats.cx_ssl_total.value += 1
            stats.cx_ssl_active.value += 1
        self._attach(connection)
        self._last_end = connection.started
        self._start_timers()

    def take_over(self, other: DownstreamConnection) -> None:
        """Go on in place of `other`, which has learnt which codec its client speaks."""
        self._attach(other.connection)
        self._last_end = other._last_end
        # They go on running: `other` passes on what they tell it.
        if other._idle_timer is not None:
            self._idle_timer, other._idle_timer = other._idle_timer, None
        if other._duration_timer is not None:
            self._duration_timer, other._duration_timer = other._duration_timer, None

    def _attach(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.worker = connection.worker
        if self.manager.config.tracing is not None:
            self.manager.trace(self.worker)

    def _start_timers(self) -> None:
        first = self.manager.look_after
        if first:
            if self.worker.overload is not None:
                first = min(self._as_overloaded(first, first))
            self._idle_timer = self.worker.schedule(first, self._look)
        duration = self.manager.config.max_connection_duration
        if duration:
            duration *= 1 + self.manager.config.max_connection_duration_jitter * self.worker.rng.random()
            self._duration_timer = self.connection.schedule(duration, self._duration_reached)

    def on_close(self, connection: Connection) -> None:
        stats = self.manager.stats
        stats.cx_active.value -= 1
        if self.connection.info.tls is not None:
            stats.cx_ssl_active.value -= 1
        stats.cx_destroy.value += 1
        outwaited = self.connection.outwaited
        (stats.cx_destroy_local if self._local_close or outwaited else stats.cx_destroy_remote).value += 1
        if outwaited:
            stats.cx_delayed_close_timeout.value += 1
        stats.cx_length_ms.record((self.worker.loop.time() - self.connection.started) * 1000)
        # They know us: no cycle is to be left.
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._duration_timer is not None:
            self._duration_timer.cancel()
            self._duration_timer = None
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None

    # A request on its way in.

    def admit(self, stream: HttpServerStream, request: RequestHeaders, upgrade: str, *, expects: bool) -> None:
        """Send a head past the edge to its route and filters. upgrade: what it asks for in lower case, or ""; CONNECT
        is "connect". expects: it has `expect: 100-continue`."""
        manager = self.manager
        if expects:
            self._treat_expectation(stream, request)
        if request.method == "QUERY" and not request.get("content-type"):
            refusal: LocalReply | None = QUERY_WITHOUT_TYPE
        else:
            refusal = manager.edge.check_target(request, stream.connection)
        if refusal is not None:
            if refusal.status == 404:
                manager.stats.rq_non_relative_path.value += 1
            elif refusal.status == 307:
                manager.stats.rq_redirected_with_normalized_path.value += 1
            elif refusal is PATH_NORMALIZATION_FAILED:
                manager.stats.rq_failed_path_normalization.value += 1
            if refusal.close and manager.config.stream_error_on_invalid_http_message:
                refusal = replace(refusal, close=False)
            stream.reply(refusal)
            return
        if manager.early_changes:
            for change in manager.early_changes:
                change(request, stream)
        trust = manager.edge.mutate(request, stream.connection, upgrade != "")
        if trust is not None:
            if isinstance(trust, LocalReply):
                manager.stats.rq_rejected_via_ip_detection.value += 1
                stream.reply(trust)
                return
            stream.internal, stream.remote_address = trust
            if stream.internal and "x-envoy-force-trace" in request.fields:
                stream.tells_request_id = True
        given = request.fields.get("x-request-id")
        if given is None or manager.replaces_ids:
            self._identify(stream, request, given)
        else:
            if manager.resets_trace_reason and not stream.internal:
                given = request["x-request-id"] = with_trace_reason(given, NOT_TRACED)
            stream.request_id = given
        if manager.client_certificate is not None:
            manager.client_certificate.apply(request, stream.connection)
        if manager.requires_tls and manager.routes.requires_tls(request):
            stream.route = _TO_HTTPS
        else:
            stream.choose_route()
        if upgrade and not self._may_upgrade(stream, upgrade):
            return
        route = stream.route
        if manager.tracing is not None:
            manager.tracing.begin(stream, edge=given is not None and manager.config.use_remote_address)
        if manager.plans_differ:
            stream.plan = manager.plan(route, stream.weighted, upgrade)
        if manager.stream_timers or route in manager.timed_routes:
            stream.arm()
        stream.begin()

    def readmit(self, stream: HttpServerStream, body: bytes) -> None:
        """Send a request that was redirected to its new route. Who the client is and what it may say was settled when
        it came; the target is looked at as any other, for it is the upstream that names it now."""
        if stream.done:
            return
        manager = self.manager
        request = stream.request
        refusal = manager.edge.check_target(request, stream.connection)
        if refusal is not None:
            stream.reply(refusal)
        else:
            if manager.requires_tls and manager.routes.requires_tls(request):
                stream.route = _TO_HTTPS
            else:
                stream.choose_route()
            if manager.tracing is not None:
                manager.tracing.begin(stream, edge=False)
            if manager.plans_differ:
                stream.plan = manager.plan(stream.route, stream.weighted, "")
            if manager.stream_timers or stream.route in manager.timed_routes:
                stream.arm()
            stream.begin()
            if body and not stream.done:
                stream.receive_body(body, True)
        stream.flush()

    def _identify(self, stream: HttpServerStream, request: RequestHeaders, given: str | None) -> None:
        """X-Request-ID: kept from whom we trust, else made (Envoy: uuid request id extension)."""
        if self.manager.config.generate_request_id and (given is None or not stream.internal):
            given = self.manager.new_request_id()
            if request.repeated:
                request["x-request-id"] = given
            else:
                request.fields["x-request-id"] = given
        stream.request_id = given or ""

    def _may_upgrade(self, stream: HttpServerStream, upgrade: str) -> bool:
        allowed = self.manager.allows_upgrade(stream.route, upgrade)
        if allowed:
            self.manager.stats.cx_upgrades_total.value += 1
        if stream.route is None or (stream.route is _TO_HTTPS and upgrade == "connect"):
            stream.close_after = True
            return True  # answered by the router
        if allowed:
            stream.raw_wanted = upgrade
            return True
        self._refuse_upgrade(stream)
        return False

    def _refuse_upgrade(self, stream: HttpServerStream) -> None:
        self.manager.stats.rq_ws_on_non_ws_route.value += 1
        if stream.request_received:  # which it isn't to Envoy: it waits for what follows the upgrade
            self.manager.stats.count_early_response()
        stream.reply(UPGRADE_FAILED)

    def _treat_expectation(self, stream: HttpServerStream, request: RequestHeaders) -> None:
        if self.manager.config.proxy_100_continue:
            return
        request.remove("expect")
        stream.expected_here = True
        stream.send_informational(ResponseHeaders(100))
        stream.expected_here = False

    # What streams call.

    @abstractmethod
    def stream_finished(self, stream: HttpServerStream, cut: bool) -> None:
        """A response has been written whole, or was cut off."""

    @abstractmethod
    def replace(self, stream: HttpServerStream, successor: HttpServerStream) -> None:
        """`stream` is over without an answer: `successor` stands for the request now."""

    def begin_drain(self) -> None:
        """A response has said that the connection goes away: give the client the drain time to leave by itself."""
        self._drain_then_close()

    # Timers of the connection.

    @abstractmethod
    def live_streams(self) -> Iterable[HttpServerStream]:
        """The streams that aren't over; a copy."""

    def look_again(self) -> None:
        """The timeouts may have become shorter."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
            self._look()

    def _look(self) -> None:
        """Has a stream, or the connection without one, been idle for too long? One timer serves both questions.

        What begins between two looks is looked at early, and then again when its own time is up.
        """
        if self.connection.closed:
            return
        config = self.manager.config
        idle_timeout, stream_idle_timeout = config.idle_timeout, config.stream_idle_timeout
        if self.worker.overload is not None:
            idle_timeout, stream_idle_timeout = self._as_overloaded(idle_timeout, stream_idle_timeout)
        now = self.worker.loop.time()
        due = []
        busy = self._head_begun
        for stream in self.live_streams():
            busy = True
            if stream_idle_timeout and not stream.idle_timeout_of_route:
                stream.check_idle(stream_idle_timeout)
                due.append(stream.last_activity + stream_idle_timeout)
        if stream_idle_timeout and not due:
            due.append(now + stream_idle_timeout)
        if idle_timeout and busy:
            due.append(now + idle_timeout)
        elif idle_timeout and not self.draining:
            due.append(self._last_end + idle_timeout)
            if due[-1] <= now + 0.001:
                self._idle_too_long()
                return
        if not self.connection.closed and due:
            self._idle_timer = self.worker.schedule(max(min(due) - now, 0.01), self._look)

    def _as_overloaded(self, idle: float, stream_idle: float) -> tuple[float, float]:
        """What overload leaves of the two timeouts by now."""
        overload = self.worker.overload
        assert overload is not None
        return (
            overload.timeout("HTTP_DOWNSTREAM_CONNECTION_IDLE", idle),
            overload.timeout("HTTP_DOWNSTREAM_STREAM_IDLE", stream_idle),
        )

    def _idle_too_long(self) -> None:
        self.manager.stats.cx_idle_timeout.value += 1
        self._drain_then_close()

    def _duration_reached(self) -> None:
        self.manager.stats.cx_max_duration_reached.value += 1
        self._drain_then_close()

    def _drain_then_close(self) -> None:
        """As Envoy: a last request may come within the drain time, then the connection closes."""
        if self.draining:
            return
        self.draining = True
        config = self.manager.config
        jitter = config.drain_timeout_jitter * self.manager.rng.random() if config.drain_timeout_jitter else 0.0
        self._drain_timer = self.connection.schedule(config.drain_timeout * (1 + jitter), self._drained)

    @abstractmethod
    def _drained(self) -> None:
        """The drain time is over."""

    def _close(self, delay: float) -> None:
        self._local_close = not delay  # else the client may close first
        self.connection.close(delay=delay, give_up=self.manager.config.delayed_close_timeout)
