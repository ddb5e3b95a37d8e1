"""`envoy.filters.network.ratelimit`: asks a rate limit service (`envoy.service.ratelimit.v3`) about each connection.

While it is asked, nothing of the connection is read. A service that gives no answer lets it pass, unless
`failure_mode_deny`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitResponse
from google.protobuf.message import DecodeError

from meshproxy.matching import FractionalPercent
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.listener import LineFormatter
from meshproxy.plugin.context import Connection, FactoryContext, GrpcError
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.struct_view import plain_struct
from meshproxy.records import dataclass
from meshproxy_filters.rate_limit_service import METHOD, Descriptor, encode_question, read_rate_limit_service

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NAMESPACE = "envoy.filters.network.ratelimit"
_ALWAYS = FractionalPercent(100)


class Statistics:
    """`ratelimit.<stat_prefix>.`"""

    def __init__(self, scope: StatsScope) -> None:
        self.total = scope.counter("total")
        self.ok = scope.counter("ok")
        self.error = scope.counter("error")
        self.over_limit = scope.counter("over_limit")
        self.failure_mode_allowed = scope.counter("failure_mode_allowed")
        self.cx_closed = scope.counter("cx_closed")
        self.active = scope.gauge("active")


@dataclass(frozen=True, slots=True, eq=False)
class RateLimitConfig:
    """descriptors: each a row of keys, with what makes their values. enabled, enforced: draw whether it asks at all,
    and whether a connection over the limit is closed."""

    stats: Statistics
    service: GrpcService
    domain: str
    descriptors: tuple[tuple[tuple[str, LineFormatter], ...], ...]
    denies: bool
    enabled: Callable[[], bool]
    enforced: Callable[[], bool]


class RateLimit(NetworkFilter[RateLimitConfig]):
    """See the module."""

    _asks: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> RateLimitConfig:
        descriptors = tuple(
            tuple((entry.text("key"), _format(entry, context)) for entry in descriptor.views("entries"))
            for descriptor in view.views("descriptors")
        )
        runtime = context.runtime
        return RateLimitConfig(
            Statistics(context.root_stats.scope(f"ratelimit.{view.text('stat_prefix')}.")),
            read_rate_limit_service(view, context),
            view.text("domain"),
            descriptors,
            view.boolean("failure_mode_deny"),
            runtime.share("ratelimit.tcp_filter_enabled", _ALWAYS).sampler(context.rng),
            runtime.share("ratelimit.tcp_filter_enforcing", _ALWAYS).sampler(context.rng),
        )

    def on_new_connection(self, connection: Connection) -> Awaitable[None] | None:
        return self._ask(connection) if self.config.enabled() else None

    async def _ask(self, connection: Connection) -> None:
        config, stats = self.config, self.config.stats
        stats.total.value += 1
        stats.active.value += 1
        self._asks = True
        asked: list[Descriptor] = [
            (tuple((key, make(connection.stream)) for key, make in descriptor), 1, None)
            for descriptor in config.descriptors
        ]
        try:
            answer = await connection.call_grpc(config.service, METHOD, encode_question(config.domain, asked))
            response = RateLimitResponse.FromString(answer)
        except (GrpcError, DecodeError):
            self._failed(connection)
            return
        finally:
            self._asked()
        for key, value in plain_struct(response.dynamic_metadata).items():
            connection.stream.set_metadata(_NAMESPACE, key, value)
        if response.overall_code != RateLimitResponse.OVER_LIMIT:
            stats.ok.value += 1
            return
        stats.over_limit.value += 1
        if config.enforced():
            self._close(connection, "ratelimit_close_over_limit")

    def _asked(self) -> None:
        if self._asks:
            self._asks = False
            self.config.stats.active.value -= 1

    def on_close(self, connection: Connection) -> None:
        self._asked()

    def _failed(self, connection: Connection) -> None:
        stats = self.config.stats
        stats.error.value += 1
        if self.config.denies:
            self._close(connection, "ratelimit_error_failure_mode_connection_close")
        else:
            stats.failure_mode_allowed.value += 1

    def _close(self, connection: Connection, reason: str) -> None:
        self.config.stats.cx_closed.value += 1
        connection.info.local_close_reason = reason
        connection.close()


def _format(entry: ConfigView, context: FactoryContext) -> LineFormatter:
    try:
        return context.compile_format(entry.text("value"))
    except ValueError as error:
        entry.fail(str(error), "value")
