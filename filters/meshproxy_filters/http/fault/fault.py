"""`envoy.filters.http.fault`: delays, aborts and slow responses on purpose, to see what a system makes of them.

A configuration that can hit no request isn't in the plan (`is_active`), so a mesh that carries the filter
everywhere, as Istio does, pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter, Parted
from meshproxy.plugin.replies import LocalReply
from meshproxy_filters.http.fault.config import ABORT_GRPC_HEADER, FaultConfig
from meshproxy_filters.http.fault.config import Fault as FaultKind
from meshproxy_filters.token_bucket import TokenBucket

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_FILL_INTERVAL = 0.05


class Fault(HttpFilter[FaultConfig]):
    """First the delay, then the abort; the response's speed last."""

    _counted: bool = False
    _bucket: TokenBucket | None = None

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> FaultConfig:
        return FaultConfig.compile(view, context)

    @classmethod
    def is_active(cls, config: FaultConfig) -> bool:
        return config.is_active

    def on_request_headers(
        self, request: RequestHeaders, stream: Stream
    ) -> LocalReply | Awaitable[LocalReply | None] | None:
        config = self.config
        if not self._concerns(request, stream):
            return None
        if config.stats.active_faults.value >= config.max_active.value:
            config.stats.faults_overflow.value += 1
            return None
        if config.limit is not None:
            self._set_limit(config.limit, request)
        if config.delay is not None:
            delay = self._delay(config.delay, request)
            if delay > 0:
                stream.add_flag("DI")
                self._tell(stream)
                config.stats.delays_injected.value += 1
                self._count()
                return self._wait(delay, request, stream)
        return self._abort(request, stream)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> bytes | Parted | None:
        return None if self._bucket is None else self._pass_slowly(self._bucket, data, stream)

    def on_stream_complete(self, stream: Stream) -> None:
        if self._counted:
            self.config.stats.active_faults.value -= 1

    def _concerns(self, request: RequestHeaders, stream: Stream) -> bool:
        config = self.config
        if config.upstream_cluster and stream.cluster_name != config.upstream_cluster:
            return False
        if config.nodes and request.get("x-envoy-downstream-service-node") not in config.nodes:
            return False
        return all(matches(request) for matches in config.headers)

    def _count(self) -> None:
        """This stream has an active fault until it is over."""
        if not self._counted:
            self._counted = True
            self.config.stats.active_faults.inc()

    def _hits(self, fault: FaultKind, request: RequestHeaders) -> bool:
        return fault.hits(request, self.context.rng.getrandbits(32))

    def _delay(self, fault: FaultKind, request: RequestHeaders) -> float:
        """Seconds to wait; 0 for none."""
        milliseconds = fault.number_in(request) or 0 if fault.header else fault.value.value
        seconds = milliseconds / 1000
        return seconds if seconds > 0 and self._hits(fault, request) else 0.0

    async def _wait(self, delay: float, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        await stream.sleep(delay)
        return self._abort(request, stream)

    def _tell(self, stream: Stream) -> None:
        stream.metadata(self.context.name).update(self.config.metadata)

    def _abort(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        fault = self.config.abort
        if fault is None:
            return None
        status, grpc_status = fault.value.value, None
        if fault.grpc:
            status, grpc_status = 200, status
        elif fault.header:
            asked = fault.number_in(request)
            if asked is not None and 200 <= asked < 600:
                status = asked
            else:
                grpc_status = FaultKind(fault.share, header=ABORT_GRPC_HEADER).number_in(request)
                if grpc_status is None:
                    return None
                status = 200
        if not self._hits(fault, request):
            return None
        self.config.stats.aborts_injected.value += 1
        self._count()
        self._tell(stream)
        body = self.config.abort_body
        return LocalReply(status, body, details="fault_filter_abort", flags="FI", grpc_status=grpc_status)

    def _set_limit(self, fault: FaultKind, request: RequestHeaders) -> None:
        rate = fault.value.value
        if fault.header:
            rate = (fault.number_in(request) or 0) * 1024
        if rate > 0 and self._hits(fault, request):
            self._bucket = TokenBucket(rate, rate, self.context.clock.now(), rate * _FILL_INTERVAL)
            self.config.stats.response_rl_injected.value += 1
            self._count()

    def _pass_slowly(self, bucket: TokenBucket, data: bytes, stream: Stream) -> bytes | Parted:
        """Let as much of a piece go on as the line, at its set speed, carries by now, and the rest later."""
        count = bucket.take_part(self.context.clock.now(), len(data))
        if count == len(data):
            return data
        rest = data[count:]

        async def later() -> bytes | Parted:
            await stream.sleep(_FILL_INTERVAL)
            return self._pass_slowly(bucket, rest, stream)

        return Parted(data[:count], later)
