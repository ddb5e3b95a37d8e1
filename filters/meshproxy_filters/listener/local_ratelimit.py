"""`envoy.filters.listener.local_ratelimit`: closes connections for which a bucket of this process has no token, before
anybody has looked at them.

A bucket belongs to a configuration. With several workers each has its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.listener import ListenerFilter, RefuseConnection, Socket
from meshproxy.plugin.stats import Counter
from meshproxy.records import dataclass
from meshproxy.runtime_values import ON, Live
from meshproxy_filters.token_bucket import TokenBucket

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_MIN_INTERVAL = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class ListenerRateLimitConfig:
    """bucket: one token for each connection."""

    bucket: TokenBucket
    rate_limited: Counter
    enabled: Live[bool]


class ListenerRateLimit(ListenerFilter[ListenerRateLimitConfig]):
    """See the module."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> ListenerRateLimitConfig:
        scope = context.root_stats.scope(f"listener_local_ratelimit.{view.text('stat_prefix')}.")
        shape = view.required("token_bucket")
        interval = shape.seconds("fill_interval", 0.0)
        if interval < _MIN_INTERVAL:
            shape.fail("local rate limit token bucket fill timer must be >= 50ms", "fill_interval")
        rate = shape.integer("tokens_per_fill", 1) / interval
        bucket = TokenBucket(shape.integer("max_tokens"), rate, context.clock.now())
        enabled = view.view("runtime_enabled")
        active = ON if enabled is None else context.compile_runtime_flag(enabled)
        return ListenerRateLimitConfig(bucket, scope.counter("rate_limited"), active)

    def on_accept(self, socket: Socket) -> None:
        config = self.config
        if config.enabled.value and not config.bucket.take(self.context.clock.now()):
            config.rate_limited.value += 1
            raise RefuseConnection("local_ratelimit")
