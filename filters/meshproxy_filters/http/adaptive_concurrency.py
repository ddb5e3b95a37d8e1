"""`envoy.filters.http.adaptive_concurrency`: as many requests at once as the upstream can take without growing slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshproxy.headers import Headers, RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live, constant
from meshproxy_filters.http.concurrency_gradient import GradientController, read_controller

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True, eq=False)
class AdaptiveConcurrencyConfig:
    """refusal: what is answered beyond the limit."""

    controller: GradientController
    enabled: Live[bool]
    refusal: LocalReply


class AdaptiveConcurrency(HttpFilter[AdaptiveConcurrencyConfig]):
    """A request takes one of the places that there are, and says how long it took when it is done."""

    _since: float = -1.0

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> AdaptiveConcurrencyConfig:
        gradient = view.view("gradient_controller_config")
        if gradient is None:
            view.fail("field 'gradient_controller_config' is required")
        enabled, status = view.view("enabled"), view.view("concurrency_limit_exceeded_status")
        code = int(status.raw().code) if status is not None else 0  # type: ignore[attr-defined]  # a generated message
        scope = context.stats.scope("adaptive_concurrency.gradient_controller.")
        return AdaptiveConcurrencyConfig(
            read_controller(gradient, scope, context),
            context.compile_runtime_flag(enabled) if enabled is not None else constant(True),
            LocalReply(
                code if code >= 400 else _UNAVAILABLE,
                b"reached concurrency limit",
                details="reached concurrency limit",
            ),
        )

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        config = self.config
        if not config.enabled.value or stream.health_check:
            return None
        now = self.context.clock.now()
        if not config.controller.admit(now):
            return config.refusal
        self._since = now
        return None

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> None:
        if end:
            self._done()

    def on_response_headers(self, response: Any, stream: Stream) -> None:
        if stream.response_end:
            self._done()

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        self._done()

    def on_stream_complete(self, stream: Stream) -> None:
        if self._since >= 0:
            self._since = -1.0
            self.config.controller.cancel()

    def _done(self) -> None:
        if self._since >= 0:
            since, self._since = self._since, -1.0
            self.config.controller.record(since, self.context.clock.now())
