"""`envoy.filters.http.ratelimit`: asks a rate limit service (`envoy.service.ratelimit.v3`) about each request.

The service is told descriptors that `rate_limits` make of the request; without any it isn't asked. While it is asked,
the request waits. A service that gives no answer lets requests pass, unless `failure_mode_deny`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitResponse
from google.protobuf.message import DecodeError

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders, check_name, check_value
from meshproxy.matching import wire_text
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.rate_limit import RateLimit
from meshproxy.model.route import ForwardAction, HeaderMutations
from meshproxy.plugin.context import FactoryContext, GrpcError, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.mutations import apply_mutations
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import Counter
from meshproxy.plugin.struct_view import plain_struct
from meshproxy.plugin.upstream import Cluster
from meshproxy.records import dataclass
from meshproxy_filters.rate_limit_service import METHOD, Descriptor, encode_question, read_rate_limit_service

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NAMESPACE = "envoy.filters.http.ratelimit"
_RESOURCE_EXHAUSTED = 8
_TOO_MANY_REQUESTS = 429
_WINDOWS = (0, 1, 60, 3600, 86400, 2592000, 31536000, 604800)
"""Seconds of RateLimitResponse.RateLimit.Unit: unknown, second, minute, hour, day, month, year, week."""


class RateLimitStats:
    """`cluster.<name>.ratelimit.`: of the cluster that the request is for."""

    def __init__(self, infix: str) -> None:
        self._infix = infix
        self._counters: dict[tuple[str, str], Counter] = {}

    def count(self, outcome: str, cluster: Cluster) -> None:
        key = cluster.name, outcome
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = cluster.stats.scope.scope(self._infix).counter(outcome)
        counter.value += 1


@dataclass(frozen=True, slots=True, eq=False)
class RateLimitConfig:
    """internal: whether internal requests are asked about, external: and others. own_limits: in place of the route's.

    vh_option: "OVERRIDE", "INCLUDE" or "IGNORE". denies: draws whether a request is refused for want of an answer.
    """

    service: GrpcService
    domain: str
    stage: int
    internal: bool
    external: bool
    stats: RateLimitStats
    enabled: Callable[[], bool]
    enforced: Callable[[], bool]
    denies: Callable[[], bool]
    status: int
    status_on_error: int
    grpc_status: int | None
    mutations: tuple[HeaderMutations, ...]
    x_headers: bool
    x_limited: bool
    retry_after: bool
    metadata_namespace: str
    own_limits: tuple[RateLimit, ...]
    vh_option: str = "OVERRIDE"


@dataclass(frozen=True, slots=True, eq=False)
class Override:
    """What a route says; "" and () leave what the filter says."""

    vh_option: str
    domain: str
    own_limits: tuple[RateLimit, ...]


Settings = RateLimitConfig | Override


class RateLimitFilter(HttpFilter[Settings]):
    """See the module."""

    _to_client: Sequence[tuple[str, str]] = ()
    _told: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> RateLimitConfig:
        return _read(view, context)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> Override:
        """`RateLimitPerRoute`."""
        view.enum("override_option")  # of no effect in Envoy either
        return Override(
            view.enum("vh_rate_limits"),
            view.text("domain"),
            context.compile_rate_limits(view.views("rate_limits")),
        )

    @classmethod
    def merge_route(cls, base: Settings, route: Settings) -> Settings:
        config, said = cast(RateLimitConfig, base), cast(Override, route)
        return replace(
            config,
            vh_option=said.vh_option,
            domain=said.domain or config.domain,
            own_limits=said.own_limits or config.own_limits,
        )

    def on_request_headers(
        self, request: RequestHeaders, stream: Stream
    ) -> Awaitable[LocalReply | None] | LocalReply | None:
        config = cast(RateLimitConfig, self.config)
        internal = request.get("x-envoy-internal") == "true"
        if not (config.internal if internal else config.external) or not config.enabled():
            return None
        cluster = stream.clusters.get(stream.cluster_name)
        if cluster is None:
            return None
        self._told = True
        descriptors = _describe(config, stream)
        return self._ask(config, descriptors, cluster, stream) if descriptors else None

    def on_stream_complete(self, stream: Stream) -> None:
        """Tell the service of limits that apply to what came of the request."""
        config = cast(RateLimitConfig, self.config)
        if self._told and (late := _describe(config, stream, at_end=True)):
            stream.tell_grpc(config.service, METHOD, encode_question(config.domain, late))

    async def _ask(
        self, config: RateLimitConfig, descriptors: Sequence[Descriptor], cluster: Cluster, stream: Stream
    ) -> LocalReply | None:
        question = encode_question(config.domain, descriptors)
        try:
            answer = await stream.call_grpc(config.service, METHOD, question)
            response = RateLimitResponse.FromString(answer)
        except (GrpcError, DecodeError):
            return self._no_answer(config, cluster)
        if response.dynamic_metadata.fields:
            stream.metadata(config.metadata_namespace).update(plain_struct(response.dynamic_metadata))
        to_client = _fields(response.response_headers_to_add)
        over = response.overall_code == RateLimitResponse.OVER_LIMIT
        config.stats.count("over_limit" if over else "ok", cluster)
        if over:
            cluster.stats.count_response(config.status, internal=True)
            if config.x_limited:
                to_client.append(("x-envoy-ratelimited", "true"))
        if config.x_headers:
            to_client += _limit_headers(response.statuses)
        if over and config.enforced():
            return self._refuse(config, response, to_client, stream)
        self._to_client = to_client
        for name, value in _fields(response.request_headers_to_add):
            stream.request.append_checked(name, value)
        return None

    def _no_answer(self, config: RateLimitConfig, cluster: Cluster) -> LocalReply | None:
        config.stats.count("error", cluster)
        if config.denies():
            return LocalReply(config.status_on_error, details="rate_limiter_error", flags="RLSE")
        config.stats.count("failure_mode_allowed", cluster)
        return None

    def _refuse(
        self, config: RateLimitConfig, response: Any, to_client: list[tuple[str, str]], stream: Stream
    ) -> LocalReply:
        headers = Headers(to_client)
        if config.retry_after and "retry-after" not in headers and (seconds := _seconds_to_reset(response.statuses)):
            headers.add("retry-after", str(seconds))
        apply_mutations(config.mutations, headers, stream)
        return LocalReply(
            config.status,
            response.raw_body,
            headers=tuple(headers.items()),
            details="request_rate_limited",
            flags="RL",
            grpc_status=config.grpc_status,
        )

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        for name, value in self._to_client:
            response.append_checked(name, value)


def _describe(config: RateLimitConfig, stream: Stream, at_end: bool = False) -> list[Descriptor]:
    route = stream.route
    if route is None or type(route.action) is not ForwardAction:
        return []
    if config.own_limits:
        return _descriptors([each for each in config.own_limits if each.at_end is at_end], config.stage, stream)
    found = _descriptors([each for each in route.rate_limits if each.at_end is at_end], config.stage, stream)
    option = "INCLUDE" if route.include_virtual_host_rate_limits else config.vh_option
    if option == "INCLUDE" or (option == "OVERRIDE" and not route.rate_limits):
        limits = [each for each in route.virtual_host_rate_limits if each.at_end is at_end]
        found += _descriptors(limits, config.stage, stream)
    return found


def _descriptors(limits: Sequence[RateLimit], stage: int, stream: Stream) -> list[Descriptor]:
    found: list[Descriptor] = []
    for limit in limits:
        if limit.stage == stage and limit.enabled():
            entries, hits = limit.describe(stream), limit.hits(stream)
            if entries is not None and hits is not None:
                found.append((entries, hits, limit.override(stream) if limit.override is not None else None))
    return found


def _fields(values: Any) -> list[tuple[str, str]]:
    """Fields that the service wants added; what can't stand in a head is left out."""
    fields = []
    for each in values:
        name = each.key.lower()
        try:
            fields.append((check_name(name), check_value(wire_text(each.value))))
        except ValueError:
            continue
    return fields


def _limit_headers(statuses: Any) -> list[tuple[str, str]]:
    """`x-ratelimit-*` of the limit that is nearest to its end (draft-polli-ratelimit-headers-03)."""
    limited = [status for status in statuses if status.HasField("current_limit")]
    if not limited:
        return []
    nearest = min(limited, key=lambda status: status.limit_remaining)
    policy = ""
    for status in limited:
        limit = status.current_limit
        window = _WINDOWS[limit.unit] if limit.unit < len(_WINDOWS) else 0
        if window:
            name = f';name="{limit.name}"' if limit.name else ""
            policy += f", {limit.requests_per_unit};w={window}{name}"
    return [
        ("x-ratelimit-limit", f"{nearest.current_limit.requests_per_unit}{policy}"),
        ("x-ratelimit-remaining", str(nearest.limit_remaining)),
        ("x-ratelimit-reset", str(nearest.duration_until_reset.seconds)),
    ]


def _seconds_to_reset(statuses: Any) -> int:
    """When the last limit that is reached begins anew, in whole seconds, at least one; 0 if none is reached."""
    reached = (status for status in statuses if status.code == RateLimitResponse.OVER_LIMIT)
    return max((max(status.duration_until_reset.seconds, 1) for status in reached), default=0)


def _read(view: ConfigView, context: FactoryContext) -> RateLimitConfig:
    kind = view.text("request_type") or "both"
    if kind not in ("internal", "external", "both"):
        view.fail("it is one of 'internal', 'external' and 'both'", "request_type")
    prefix = view.text("stat_prefix").removesuffix(".")
    mutations = context.compile_header_mutations(view.views("response_headers_to_add"), ())
    status = _status(view, "rate_limited_status", _TOO_MANY_REQUESTS, 400)
    return RateLimitConfig(
        service=read_rate_limit_service(view, context),
        domain=view.text("domain"),
        stage=view.integer("stage"),
        internal=kind != "external",
        external=kind != "internal",
        stats=RateLimitStats(f"ratelimit.{prefix}." if prefix else "ratelimit."),
        enabled=_sampler(view, "filter_enabled", context, True),
        enforced=_sampler(view, "filter_enforced", context, True),
        denies=_sampler(view, "failure_mode_deny_percent", context, view.boolean("failure_mode_deny")),
        status=status,
        status_on_error=_status(view, "status_on_error", 500, 200),
        grpc_status=_RESOURCE_EXHAUSTED if view.boolean("rate_limited_as_resource_exhausted") else None,
        mutations=(mutations,) if mutations is not None else (),
        x_headers=view.enum("enable_x_ratelimit_headers") == "DRAFT_VERSION_03",
        x_limited=not view.boolean("disable_x_envoy_ratelimited_header"),
        retry_after=view.boolean("enable_retry_after_header") and status == _TOO_MANY_REQUESTS,
        metadata_namespace=view.text("metadata_namespace") or _NAMESPACE,
        own_limits=context.compile_rate_limits(view.views("rate_limits")),
    )


def _sampler(view: ConfigView, field: str, context: FactoryContext, default: bool) -> Callable[[], bool]:
    fraction = view.view(field)
    return context.compile_runtime_fraction(fraction).sampler(context.rng) if fraction is not None else lambda: default


def _status(view: ConfigView, field: str, default: int, least: int) -> int:
    status = view.view(field)
    code = int(status.raw().code) if status is not None else 0  # type: ignore[attr-defined]  # a generated message
    return code if code >= least else default
