"""`envoy.filters.network.local_ratelimit`: refuses connections for which a bucket of this process has no token.

A bucket belongs to a configuration; filters with the same `share_key` and an equal bucket share one. With several
workers each has its buckets: N workers let through up to N times as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.stats import Counter
from meshproxy.records import dataclass
from meshproxy.runtime_values import ON, Live
from meshproxy_filters.token_bucket import TokenBucket

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_MIN_INTERVAL = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class LocalRateLimitConfig:
    """bucket: one token for each connection."""

    bucket: TokenBucket
    rate_limited: Counter
    enabled: Live[bool]


class LocalRateLimit(NetworkFilter[LocalRateLimitConfig]):
    """See the module."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> LocalRateLimitConfig:
        rate_limited = context.root_stats.scope(f"local_rate_limit.{view.text('stat_prefix')}.").counter("rate_limited")
        shape = view.required("token_bucket")
        interval = shape.seconds("fill_interval", 0.0)
        if interval < _MIN_INTERVAL:
            shape.fail("local rate limit token bucket fill timer must be >= 50ms", "fill_interval")
        maximum, per_fill = shape.integer("max_tokens"), shape.integer("tokens_per_fill", 1)

        def make_bucket() -> TokenBucket:
            return TokenBucket(maximum, per_fill / interval, context.clock.now())

        key = view.text("share_key")
        shared = ("network.local_ratelimit", key, maximum, per_fill, interval)
        bucket = context.shared(shared, make_bucket) if key else make_bucket()
        enabled = view.view("runtime_enabled")
        active = ON if enabled is None else context.compile_runtime_flag(enabled)
        return LocalRateLimitConfig(bucket, rate_limited, active)

    def on_new_connection(self, connection: Connection) -> None:
        config = self.config
        if not config.enabled.value or config.bucket.take(connection.clock.now()):
            return
        config.rate_limited.value += 1
        connection.stream.add_flag("URX")
        connection.info.local_close_reason = "local_ratelimit_close_over_limit"
        connection.close()
