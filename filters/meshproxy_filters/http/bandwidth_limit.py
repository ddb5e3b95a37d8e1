"""`envoy.filters.http.bandwidth_limit`: how many bytes of bodies a second pass, of all streams together.

Theory. One bucket for each configuration holds the bytes of one second, at first and at most. A piece of body goes on
as far as the bucket reaches; the rest comes back for more after `fill_interval`, and meanwhile its source isn't read.
With several workers each has its bucket, and N workers let through up to N times as much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders, check_name
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter, Parted
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live, constant
from meshproxy_filters.token_bucket import TokenBucket

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_FILL_INTERVAL = 0.05
_ROUNDING = 0.001  # what sums of a float may lack to the whole millisecond that they are


class DirectionStats:
    """`<stat_prefix>.http_bandwidth_limit.request_` or `response_`."""

    def __init__(self, scope: StatsScope, direction: str) -> None:
        self.enabled = scope.counter(f"{direction}_enabled")
        self.enforced = scope.counter(f"{direction}_enforced")
        self.pending = scope.gauge(f"{direction}_pending")
        self.incoming_size = scope.gauge(f"{direction}_incoming_size")
        self.allowed_size = scope.gauge(f"{direction}_allowed_size")
        self.incoming_total_size = scope.counter(f"{direction}_incoming_total_size")
        self.allowed_total_size = scope.counter(f"{direction}_allowed_total_size")
        self.transfer_duration = scope.histogram(f"{direction}_transfer_duration")


@dataclass(frozen=True, slots=True, eq=False)
class BandwidthLimitConfig:
    """bucket: None limits nothing. request, response: None for a direction that isn't limited.

    trailers: prefix of the names of those that tell the client how long it took; None for none.
    """

    bucket: TokenBucket | None
    request: DirectionStats | None
    response: DirectionStats | None
    enabled: Live[bool]
    interval: float
    trailers: str | None
    now: Callable[[], float]


class Limiter:
    """One direction of one stream. took: seconds that all of it took. delay: those that it waited for the bucket."""

    def __init__(self, config: BandwidthLimitConfig, bucket: TokenBucket, stats: DirectionStats) -> None:
        self._config = config
        self._bucket = bucket
        self._stats = stats
        self._since = -1.0
        self.took = 0.0
        self.delay = 0.0
        stats.enabled.value += 1

    def pass_on(self, data: bytes, end: bool, stream: Stream, ending: Callable[[], Headers | None]) -> bytes | Parted:
        """A piece. ending: called when the last of the body goes; gives the trailers to be added."""
        stats = self._stats
        if self._since < 0:
            self._since = self._config.now()
            stats.pending.inc()
        stats.incoming_size.set(len(data))
        stats.incoming_total_size.value += len(data)
        return self._give(data, end, stream, ending)

    def _give(self, data: bytes, end: bool, stream: Stream, ending: Callable[[], Headers | None]) -> bytes | Parted:
        config, stats = self._config, self._stats
        count = self._bucket.take_part(config.now(), len(data))
        stats.allowed_size.set(count)
        stats.allowed_total_size.value += count
        if count == len(data):
            trailers = ending() if end else None
            return data if trailers is None else Parted(data, trailers)
        stats.enforced.value += 1
        rest = data[count:]

        async def later() -> bytes | Parted:
            await stream.sleep(config.interval)
            self.delay += config.interval
            return self._give(rest, end, stream, ending)

        return Parted(data[:count], later)

    def finish(self) -> None:
        """All of it has gone, or never will."""
        if self._since >= 0:
            self.took = self._config.now() - self._since
            self._since = -1.0
            self._stats.pending.dec()
            self._stats.transfer_duration.record(self.took * 1000)


class BandwidthLimit(HttpFilter[BandwidthLimitConfig]):
    """See the module."""

    _request: Limiter | None = None
    _response: Limiter | None = None

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> BandwidthLimitConfig:
        return _read(view, context)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> BandwidthLimitConfig:
        if not view.has("limit_kbps"):
            view.fail("limit must be set for per route filter config", "limit_kbps")
        return _read(view, context)

    @classmethod
    def is_active(cls, config: BandwidthLimitConfig) -> bool:
        return config.bucket is not None and (config.request is not None or config.response is not None)

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        self._request = self._limiter(self.config.request)

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> bytes | Parted | None:
        limiter = self._request
        if limiter is None:
            return None
        return limiter.pass_on(data, end, stream, limiter.finish)

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> None:
        if self._request is not None:
            self._request.finish()

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        self._response = self._limiter(self.config.response)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> bytes | Parted | None:
        limiter = self._response
        return None if limiter is None else limiter.pass_on(data, end, stream, self._end_response)

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        if self._response is not None:
            self._response.finish()
            self._tell(trailers)

    def on_stream_complete(self, stream: Stream) -> None:
        for limiter in (self._request, self._response):
            if limiter is not None:
                limiter.finish()

    def _limiter(self, stats: DirectionStats | None) -> Limiter | None:
        config = self.config
        if stats is None or config.bucket is None or not config.enabled.value:
            return None
        return Limiter(config, config.bucket, stats)

    def _end_response(self) -> Headers | None:
        assert self._response is not None
        self._response.finish()
        if self.config.trailers is None:
            return None
        trailers = Headers()
        self._tell(trailers)
        return trailers

    def _tell(self, trailers: Headers) -> None:
        """Say in the trailers how long the bodies took, where it was any time."""
        prefix = self.config.trailers
        if prefix is None:
            return
        for direction, limiter in (("request", self._request), ("response", self._response)):
            if limiter is None:
                continue
            for name, seconds in (("delay-ms", limiter.took), ("filter-delay-ms", limiter.delay)):
                milliseconds = int(seconds * 1000 + _ROUNDING)
                if milliseconds:
                    trailers[f"{prefix}bandwidth-{direction}-{name}"] = str(milliseconds)


def _read(view: ConfigView, context: FactoryContext) -> BandwidthLimitConfig:
    scope = context.root_stats.scope(f"{view.text('stat_prefix')}.http_bandwidth_limit.")
    request, response = DirectionStats(scope, "request"), DirectionStats(scope, "response")
    mode = view.enum("enable_mode")
    enabled = view.view("runtime_enabled")
    rate = view.integer("limit_kbps") * 1024
    now = context.clock.now
    return BandwidthLimitConfig(
        TokenBucket(rate, rate, now()) if rate else None,
        request if mode in ("REQUEST", "REQUEST_AND_RESPONSE") else None,
        response if mode in ("RESPONSE", "REQUEST_AND_RESPONSE") else None,
        context.compile_runtime_flag(enabled) if enabled is not None else constant(True),
        view.seconds("fill_interval", _FILL_INTERVAL),
        _read_trailers(view),
        now,
    )


def _read_trailers(view: ConfigView) -> str | None:
    prefix = view.text("response_trailer_prefix").lower()
    if prefix:
        try:
            check_name(prefix)
        except ValueError as error:
            view.fail(str(error), "response_trailer_prefix")
        prefix += "-"
    return prefix if view.boolean("enable_response_trailers") else None
