"""The timers of one request: idleness, the whole request, the longest duration; only those that are configured run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from meshproxy.chain.http_stream import FilterStream
from meshproxy.model.route import ForwardAction
from meshproxy.plugin.context import Timer
from meshproxy.plugin.grpc_timeout import format_grpc_timeout
from meshproxy.plugin.replies import (
    MAX_DURATION_TIMEOUT,
    REQUEST_DURATION_TIMEOUT,
    REQUEST_IDLE_TIMEOUT,
    REQUEST_TIMEOUT,
    STREAM_IDLE_TIMEOUT,
)
from meshproxy.runtime.downstream.http_edge import is_grpc
from meshproxy.runtime.grpc_timeout import grpc_duration

if TYPE_CHECKING:
    from meshproxy.runtime.downstream.http_downstream import DownstreamConnection


class StreamTimers(FilterStream):
    """See the module. last_activity: when something of the stream last moved."""

    owner: DownstreamConnection
    request_received: bool
    last_activity: float
    idle_timeout_of_route: bool = False
    _timers: list[Timer] | None = None

    def arm(self) -> None:
        """Start the timers that this request's configuration asks for."""
        config = self.owner.manager.config
        if config.request_timeout and not self.request_received:
            self.schedule(config.request_timeout, self._request_timed_out)
        if config.log_new_requests:
            self.log_now("DownstreamStart")
        if config.log_interval:
            self.schedule(config.log_interval, self._log_periodically)
        duration = config.max_stream_duration
        route = self.route
        if route is not None and isinstance(route.action, ForwardAction):
            if route.action.max_stream_duration is not None:
                duration = route.action.max_stream_duration
            duration = grpc_duration(route.action, self.request, duration)
            limits = route.action.max_stream_duration is not None or route.action.grpc_timeout_header_max is not None
            if limits and duration and is_grpc(self.request):
                self.request.fields["grpc-timeout"] = format_grpc_timeout(duration)
            if route.action.idle_timeout is not None:
                self.idle_timeout_of_route = True
                if route.action.idle_timeout > 0:
                    self._arm_idle(route.action.idle_timeout)
        if duration:
            self.schedule(duration, self._duration_reached)

    def log_now(self, kind: str) -> None:
        """Write a row of this kind to the access log; the request goes on."""
        usual, self.access_log_type = self.access_log_type, kind
        self.owner.worker.access_logs.log(self.owner.manager.config.access_logs, self)
        self.access_log_type = usual

    def _log_periodically(self) -> None:
        self.log_now("DownstreamPeriodic")
        self.schedule(self.owner.manager.config.log_interval, self._log_periodically)

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
        self.reply(MAX_DURATION_TIMEOUT if self.request_received else REQUEST_DURATION_TIMEOUT)
        self.flush()

    def schedule(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = self.owner.worker.schedule(delay, callback)
        if self._timers is None:
            self._timers = [timer]
        else:
            self._timers.append(timer)
        return timer

    def cancel_timers(self) -> None:
        """The stream is over."""
        if self._timers is not None:
            for timer in self._timers:
                timer.cancel()
            self._timers = None
