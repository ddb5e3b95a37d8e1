"""`envoy.filters.http.local_ratelimit`: forbids requests for which a bucket of this process has no token.

Buckets belong to a configuration, so a route with one of its own has buckets of its own. With several workers each has
its buckets: N workers let through up to N times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.matching import FractionalPercent, wire_text
from meshproxy.model.rate_limit import Entries, RateLimit
from meshproxy.model.route import ForwardAction, HeaderMutations
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.mutations import apply_mutations
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.stream_info import ConnectionInfo
from meshproxy.records import dataclass
from meshproxy.runtime_values import Share
from meshproxy_filters.http.local_ratelimit.buckets import Buckets, BucketShape, Descriptor
from meshproxy_filters.token_bucket import TokenBucket

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_BODY = b"local_rate_limited"
_RESOURCE_EXHAUSTED = 8
_MIN_INTERVAL = 0.05


class LocalRateLimitStats:
    """`<stat_prefix>.http_local_rate_limit.`"""

    def __init__(self, scope: StatsScope) -> None:
        self.enabled = scope.counter("enabled")
        self.enforced = scope.counter("enforced")
        self.ok = scope.counter("ok")
        self.rate_limited = scope.counter("rate_limited")
        # Envoy counts here what descriptors in shadow mode would have forbidden; this version's API has none.
        self.shadow_mode = scope.counter("shadow_mode")


@dataclass(frozen=True, slots=True, eq=False)
class LocalRateLimitConfig:
    """share: how many requests it looks at. enabled, enforced: draw whether it looks at, and enforces, this one.

    make_buckets: None where nothing limits. own_limits: the filter's `rate_limits`; with any, the route's don't count.
    vh_option: "OVERRIDE", "INCLUDE" or "IGNORE". per_connection: buckets of each connection, where so configured.
    """

    stats: LocalRateLimitStats
    share: Share
    enabled: Callable[[], bool]
    enforced: Callable[[], bool]
    now: Callable[[], float]
    make_buckets: Callable[[], Buckets]
    shared: Buckets | None
    described: bool
    own_limits: tuple[RateLimit, ...]
    stage: int
    vh_option: str
    status: int
    grpc_status: int | None
    request_mutations: tuple[HeaderMutations, ...]
    response_mutations: tuple[HeaderMutations, ...]
    retry_after: bool
    x_headers: bool
    per_connection: WeakKeyDictionary[ConnectionInfo, Buckets] = field(default_factory=WeakKeyDictionary)

    def buckets(self, connection: ConnectionInfo) -> Buckets:
        if self.shared is not None:
            return self.shared
        found = self.per_connection.get(connection)
        if found is None:
            found = self.per_connection[connection] = self.make_buckets()
        return found


class LocalRateLimit(HttpFilter[LocalRateLimitConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True
    _decided_by: TokenBucket | None = None

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> LocalRateLimitConfig:
        return _read(view, context)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> LocalRateLimitConfig:
        if not view.has("token_bucket"):
            view.fail("field 'token_bucket' is required in the configuration of a route", "token_bucket")
        return _read(view, context)

    @classmethod
    def is_active(cls, config: LocalRateLimitConfig) -> bool:
        return config.share.possible

    @classmethod
    def for_config(cls, config: LocalRateLimitConfig) -> type[LocalRateLimit]:
        return TellingLocalRateLimit if config.x_headers else LocalRateLimit

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        config = self.config
        if not config.enabled():
            return None
        stats = config.stats
        stats.enabled.value += 1
        descriptors = _describe(config, stream) if config.described else ()
        buckets = config.shared or config.buckets(stream.connection)
        allowed, bucket = buckets.allow(descriptors, config.now())
        if config.x_headers:
            self._decided_by = bucket
        if allowed:
            stats.ok.value += 1
            return None
        stats.rate_limited.value += 1
        if not config.enforced():
            apply_mutations(config.request_mutations, request, stream)
            return None
        stats.enforced.value += 1
        added = Headers()
        apply_mutations(config.response_mutations, added, stream)
        if config.retry_after and bucket is not None and "retry-after" not in added:
            added.add("retry-after", str(bucket.reset_seconds(config.now())))
        return LocalReply(
            config.status,
            _BODY,
            headers=tuple(added.items()),
            details="local_rate_limited",
            flags="RL",
            grpc_status=config.grpc_status,
        )


class TellingLocalRateLimit(LocalRateLimit):
    """The same with `enable_x_ratelimit_headers`: the client hears what is left to it."""

    stateless: ClassVar[bool] = False

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        bucket = self._decided_by
        if bucket is None:
            return
        now = self.config.now()
        response.append_checked("x-ratelimit-limit", str(bucket.maximum))
        response.append_checked("x-ratelimit-remaining", str(int(bucket.tokens(now))))
        response.append_checked("x-ratelimit-reset", str(bucket.reset_seconds(now)))


def _describe(config: LocalRateLimitConfig, stream: Stream) -> list[Descriptor]:
    descriptors: list[Descriptor] = []
    if config.own_limits:
        _add_descriptors(config.own_limits, stream, descriptors)
        return descriptors
    route = stream.route
    if route is None or type(route.action) is not ForwardAction:
        return descriptors
    limits = [limit for limit in route.rate_limits if limit.stage == config.stage]
    option = "INCLUDE" if route.include_virtual_host_rate_limits else config.vh_option
    if option == "INCLUDE" or (option == "OVERRIDE" and not route.rate_limits):
        limits += [limit for limit in route.virtual_host_rate_limits if limit.stage == config.stage]
    _add_descriptors(limits, stream, descriptors)
    return descriptors


def _add_descriptors(limits: Sequence[RateLimit], stream: Stream, descriptors: list[Descriptor]) -> None:
    for limit in limits:
        if not limit.at_end and limit.enabled():
            entries, hits = limit.describe(stream), limit.hits(stream)
            if entries is not None and hits is not None:
                descriptors.append((entries, hits))


def _read(view: ConfigView, context: FactoryContext) -> LocalRateLimitConfig:
    if view.has("local_cluster_rate_limit"):
        view.fail(
            "sharing a limit among the members of a local cluster isn't supported by meshproxy",
            "local_cluster_rate_limit",
        )
    default = view.view("token_bucket")
    default_shape = _read_shape(default) if default is not None else None
    descriptors = _read_descriptors(view)
    enabled, enforced = view.view("filter_enabled"), view.view("filter_enforced")
    share = context.compile_runtime_fraction(enabled) if enabled is not None else FractionalPercent(0)
    enforced_share = context.compile_runtime_fraction(enforced) if enforced is not None else FractionalPercent(0)
    always_default = view.boolean("always_consume_default_token_bucket", True)
    max_dynamic = view.integer("max_dynamic_descriptors", 20)
    now = context.clock.now

    def make_buckets() -> Buckets:
        return Buckets(default_shape, descriptors, always_default, max_dynamic, now())

    own_limits = context.compile_rate_limits(view.views("rate_limits"))
    if any(limit.at_end for limit in own_limits):
        view.fail("apply_on_stream_done isn't supported by meshproxy here: no bucket is left to ask", "rate_limits")
    return LocalRateLimitConfig(
        stats=LocalRateLimitStats(context.root_stats.scope(f"{view.text('stat_prefix')}.http_local_rate_limit.")),
        share=share,
        enabled=share.sampler(context.rng),
        enforced=enforced_share.sampler(context.rng),
        now=now,
        make_buckets=make_buckets,
        shared=None if view.boolean("local_rate_limit_per_downstream_connection") else make_buckets(),
        described=bool(descriptors),
        own_limits=own_limits,
        stage=view.integer("stage"),
        vh_option=view.enum("vh_rate_limits"),
        status=_read_status(view),
        grpc_status=_RESOURCE_EXHAUSTED if view.boolean("rate_limited_as_resource_exhausted") else None,
        request_mutations=_read_mutations(view, "request_headers_to_add_when_not_enforced", context),
        response_mutations=_read_mutations(view, "response_headers_to_add", context),
        retry_after=view.boolean("enable_retry_after_header"),
        x_headers=view.enum("enable_x_ratelimit_headers") == "DRAFT_VERSION_03",
    )


def _read_status(view: ConfigView) -> int:
    """A status below 400 is none for this, in Envoy either: 429 takes its place."""
    status = view.view("status")
    code = int(status.raw().code) if status is not None else 0  # type: ignore[attr-defined]  # a generated message
    return code if code >= 400 else 429


def _read_mutations(view: ConfigView, field_name: str, context: FactoryContext) -> tuple[HeaderMutations, ...]:
    mutations = context.compile_header_mutations(view.views(field_name), ())
    return (mutations,) if mutations is not None else ()


def _read_shape(view: ConfigView) -> BucketShape:
    interval = view.seconds("fill_interval", 0.0)
    if interval < _MIN_INTERVAL:
        view.fail("local rate limit token bucket fill timer must be >= 50ms", "fill_interval")
    return BucketShape(view.integer("max_tokens"), view.integer("tokens_per_fill", 1) / interval)


def _read_descriptors(view: ConfigView) -> list[tuple[Entries, BucketShape]]:
    descriptors: list[tuple[Entries, BucketShape]] = []
    known: set[Entries] = set()
    for entry in view.views("descriptors"):
        entries = tuple((wire_text(each.text("key")), wire_text(each.text("value"))) for each in entry.views("entries"))
        if entries in known:
            entry.fail(f"duplicate descriptor in the local rate limit: {entries}", "entries")
        known.add(entries)
        descriptors.append((entries, _read_shape(entry.required("token_bucket"))))
    return descriptors
