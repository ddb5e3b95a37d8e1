"""`envoy.filters.http.ext_authz`: lets a request pass if an external service allows it, asked over HTTP or gRPC.

While the service is asked, the request waits. A service that can't be asked, or answers with a server error, refuses
the request, unless `failure_mode_allow`. As in Envoy a request without a route isn't asked about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply, ResponseReplaced
from meshproxy.plugin.upstream import Cluster
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live
from meshproxy_filters.http.ext_authz.grpc import GrpcAuthorization, change, read_grpc_authorization, set_query
from meshproxy_filters.http.ext_authz.service import (
    AuthorizationService,
    Change,
    Names,
    TimeTaken,
    Verdict,
    or_authorization,
    read_authorization_service,
    read_names,
)
from meshproxy_filters.http.ext_authz.stats import ExtAuthzStats

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

AnyService = AuthorizationService | GrpcAuthorization

_NO_VERDICT = Verdict(None)
_NAMESPACE = "envoy.filters.http.ext_authz"
_FAILURE_ALLOWED = "x-envoy-auth-failure-mode-allowed"
_INVALID = LocalReply(500, details="ext_authz_invalid", flags="UAEX")
_MAX_FIELDS = 100
_MAX_BYTES = 60 << 10
"""What Envoy lets a response have."""


@dataclass(frozen=True, slots=True, eq=False)
class Override:
    """What a route says. Fields that are None leave what the filter says; only a gRPC service is told `extensions`."""

    disabled: bool = False
    no_body: bool = False
    max_body: int | None = None
    partial: bool = False
    service: AnyService | None = None
    extensions: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ExtAuthzConfig:
    """enabled: draws whether this request is asked about. allowed_by_metadata: and whether its metadata asks for it.

    max_body: bytes of the body that the service is sent, 0 to send none; partial: also of one that is longer.
    asked: fields it is told, where the filter and not the service says so. max_denied_body: bytes of a refusal's body,
    0 for all. takes_metadata: what the service says becomes dynamic metadata. limits_response: one that has become too
    large by what the service adds is refused. shadow: whom the service would refuse passes, and is counted. tells_time:
    a log can tell how long it took.
    """

    stats: ExtAuthzStats
    service: AnyService
    enabled: Callable[[], bool]
    wanted: Callable[[Stream], bool]
    deny_when_disabled: Live[bool] | None
    max_body: int
    partial: bool
    asked: Names | None
    status_on_error: int
    failure_allowed: bool
    tell_failure: bool
    clear_route: bool
    charge_cluster: bool
    max_denied_body: int
    takes_metadata: bool
    limits_response: bool
    shadow: bool
    tells_time: bool
    disabled: bool = False


Settings = ExtAuthzConfig | Override


class ExtAuthz(HttpFilter[Settings]):
    """See the module."""

    _to_client: tuple[tuple[str, str], ...] = ()
    _client_changes: Sequence[Change] = ()
    _asks: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> ExtAuthzConfig:
        return _read(view, context)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> Override:
        """`ExtAuthzPerRoute`."""
        return _read_override(view, context)

    @classmethod
    def merge_route(cls, base: Settings, route: Settings) -> Settings:
        said = cast(Override, route)
        base = cast(ExtAuthzConfig, base)
        max_body = base.max_body if said.max_body is None else said.max_body
        service = said.service or base.service
        if isinstance(service, GrpcAuthorization):
            if isinstance(base.service, GrpcAuthorization):  # what is told is the filter's to say, whoever is asked
                service = replace(base.service, service=service.service)
            service = replace(service, extensions=said.extensions)
        return replace(
            base,
            disabled=said.disabled,
            max_body=0 if said.no_body else max_body,
            partial=base.partial if said.max_body is None else said.partial,
            service=service,
        )

    @classmethod
    def merge_levels(cls, configs: Sequence[Settings]) -> Settings:
        """The most specific one, with what the others tell a service besides."""
        own = cast(Override, configs[0])
        told: dict[str, str] = {}
        for each in reversed(configs):
            told.update(cast(Override, each).extensions or {})
        return replace(own, extensions=told) if told else own

    @classmethod
    def is_active(cls, config: Settings) -> bool:
        return not config.disabled

    @classmethod
    def buffers_request(cls, config: Settings) -> bool:
        return bool(config.max_body)

    @property
    def body_limit(self) -> int:
        return self.config.max_body or 0

    @property
    def accepts_partial_body(self) -> bool:
        return self.config.partial

    def on_request_headers(
        self, request: RequestHeaders, stream: Stream
    ) -> LocalReply | Awaitable[LocalReply | None] | None:
        config = cast(ExtAuthzConfig, self.config)
        if stream.route is None:
            return None
        if not config.enabled() or not config.wanted(stream):
            config.stats.disabled.value += 1
            denies = config.deny_when_disabled
            return _refuse_unasked(config, stream) if denies is not None and denies.value else None
        if config.max_body and not stream.request_end:
            self._asks = True
            return None
        return self._ask(b"", None, request, stream)

    def wants_request_body(self) -> bool:
        return self._asks

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> Awaitable[LocalReply | None] | None:
        if not self._asks:
            return None
        limit = self.config.max_body or 0
        partial = self.config.partial and (len(data) > limit or not end)
        return self._ask(data[:limit] if partial else data, partial, stream.request, stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        for name, value in self._to_client:
            response.append_checked(name, value)
        change(response, self._client_changes)
        config = cast(ExtAuthzConfig, self.config)
        if config.limits_response and (self._to_client or self._client_changes) and _too_large(response):
            config.stats.limits_reached.value += 1
            raise ResponseReplaced(_INVALID)

    async def _ask(
        self, body: bytes, partial: bool | None, request: RequestHeaders, stream: Stream
    ) -> LocalReply | None:
        config = cast(ExtAuthzConfig, self.config)
        clock = self.context.clock
        began = clock.now()
        verdict = await config.service.decide(stream, body, partial, config.asked, self.context)
        if config.tells_time:
            stream.set_filter_state(self.context.name, TimeTaken(int((clock.now() - began) * 1e6)))
        cluster = stream.clusters.get(stream.cluster_name)
        if verdict.allowed is None:
            config.stats.count("error", cluster)
            if config.shadow:
                config.stats.shadow_error.value += 1
                return None
            if not config.failure_allowed:
                return _error(config, verdict)
            config.stats.count("failure_mode_allowed", cluster)
            if config.tell_failure:
                request[_FAILURE_ALLOWED] = "true"
            return None
        if not verdict.allowed:
            config.stats.count("denied", cluster)
            _charge(config, verdict, cluster)
        if verdict.invalid and (verdict.allowed or not config.shadow):
            config.stats.count("invalid", cluster)
            return _INVALID
        if verdict.metadata and not config.takes_metadata:
            config.stats.ignored_metadata.value += 1
        elif verdict.metadata:
            noted = stream.metadata(_NAMESPACE)
            noted.update(verdict.metadata)
            if verdict.allowed:
                noted["ext_authz_duration"] = verdict.milliseconds
        if not verdict.allowed:
            if config.shadow:
                config.stats.shadow_denied.value += 1
                return None
            return _refuse(config, verdict)
        config.stats.count("ok", cluster)
        if verdict.unwritable:
            return _unwritable(verdict.unwritable)
        self._to_client = tuple(verdict.to_client)
        self._client_changes = verdict.client_changes
        _change(request, verdict)
        if verdict.query_to_set or verdict.query_to_remove:
            request.path = set_query(request.path, verdict.query_to_set, verdict.query_to_remove)
        if config.clear_route and (verdict.to_set or verdict.to_add or verdict.to_remove or verdict.changes):
            stream.clear_route()
        return None


def _change(request: RequestHeaders, verdict: Verdict) -> None:
    for name, value in verdict.to_add:
        request.append_checked(name, value)
    for name, value in verdict.to_set:
        request.remove(name)  # as in Envoy it goes to the end
        request.append_checked(name, value)
    change(request, verdict.changes)
    for name in verdict.to_remove:
        request.remove(name)


def _error(config: ExtAuthzConfig, verdict: Verdict = _NO_VERDICT) -> LocalReply:
    status = verdict.status or config.status_on_error
    return LocalReply(status, verdict.body, headers=verdict.headers, details="ext_authz_error", flags="UAEX")


def _refuse_unasked(config: ExtAuthzConfig, stream: Stream) -> LocalReply | None:
    if not config.shadow:
        return _error(config)
    config.stats.shadow_denied.value += 1
    stream.add_flag("UAEX")
    return None


def _unwritable(name: str) -> LocalReply:
    text = f"invalid header value for: {name}"
    details = f"filter_removed_required_request_headers{{{text}}}"
    return LocalReply(503, text.encode("latin-1"), details=details, flags="DPE")


def _too_large(response: ResponseHeaders) -> bool:
    fields = list(response.items())
    return len(fields) > _MAX_FIELDS or sum(len(name) + len(value) for name, value in fields) > _MAX_BYTES


def _charge(config: ExtAuthzConfig, verdict: Verdict, cluster: Cluster | None) -> None:
    if cluster is not None and config.charge_cluster:
        cluster.stats.count_response(verdict.status, internal=True)


def _refuse(config: ExtAuthzConfig, verdict: Verdict) -> LocalReply:
    body = verdict.body[: config.max_denied_body] if config.max_denied_body else verdict.body
    return LocalReply(verdict.status, body, headers=verdict.headers, details="ext_authz_denied", flags="UAEX")


def _read(view: ConfigView, context: FactoryContext) -> ExtAuthzConfig:
    service = _read_service(view, "services", context)
    if service is None:
        view.fail("one of 'http_service' and 'grpc_service' is required")
    if view.enum("transport_api_version") == "V2":
        view.fail("the second version of the API is no more", "transport_api_version")
    prefix = view.text("stat_prefix").removesuffix(".")
    enabled, wanted = view.view("filter_enabled"), view.view("filter_enabled_metadata")
    at_disable = view.view("deny_at_disable")
    return ExtAuthzConfig(
        stats=ExtAuthzStats(context.stats, f"ext_authz.{prefix}." if prefix else "ext_authz."),
        service=service,
        enabled=context.compile_runtime_fraction(enabled).sampler(context.rng) if enabled else lambda: True,
        wanted=_read_wanted(wanted, context) if wanted is not None else lambda stream: True,
        deny_when_disabled=context.compile_runtime_flag(at_disable) if at_disable is not None else None,
        max_body=_read_max_body(view.view("with_request_body")) or 0,
        partial=_read_partial(view.view("with_request_body")),
        asked=_read_asked(view, service, context),
        status_on_error=_read_status(view),
        failure_allowed=view.boolean("failure_mode_allow"),
        tell_failure=view.boolean("failure_mode_allow_header_add"),
        clear_route=_read_clear_route(view),
        charge_cluster=view.boolean("charge_cluster_response_stats", True),
        max_denied_body=view.integer("max_denied_response_body_bytes"),
        takes_metadata=view.boolean("enable_dynamic_metadata_ingestion", True),
        limits_response=view.boolean("enforce_response_header_limits"),
        shadow=view.boolean("shadow_mode"),
        tells_time=view.boolean("emit_filter_state_stats"),
    )


def _read_service(view: ConfigView, oneof: str, context: FactoryContext) -> AnyService | None:
    match view.which(oneof):
        case "http_service":
            return read_authorization_service(view.required("http_service"), context)
        case "grpc_service":
            return read_grpc_authorization(view.required("grpc_service"), view, context)
        case _:
            return None


def _read_override(view: ConfigView, context: FactoryContext) -> Override:
    if view.which("override") == "disabled":
        return Override(disabled=view.boolean("disabled"))
    settings = view.required("check_settings")
    if settings.boolean("disable_request_body_buffering") and settings.has("with_request_body"):
        settings.fail("only one of 'disable_request_body_buffering' and 'with_request_body' can be set")
    return Override(
        no_body=settings.boolean("disable_request_body_buffering"),
        max_body=_read_max_body(settings.view("with_request_body")),
        partial=_read_partial(settings.view("with_request_body")),
        service=_read_service(settings, "service_override", context),
        extensions=settings.text_map("context_extensions"),
    )


def _read_max_body(view: ConfigView | None) -> int | None:
    if view is None:
        return None
    view.boolean("pack_as_bytes")  # says how a gRPC service is told the body; an HTTP service is sent it as it is
    limit = view.integer("max_request_bytes")
    if limit <= 0:
        view.fail("it must be greater than 0", "max_request_bytes")
    return limit


def _read_partial(view: ConfigView | None) -> bool:
    return view is not None and view.boolean("allow_partial_message")


def _read_asked(view: ConfigView, service: AnyService, context: FactoryContext) -> Names | None:
    allowed = read_names(view, "allowed_headers", context)
    denied = read_names(view, "disallowed_headers", context)
    if isinstance(service, GrpcAuthorization):
        asked = allowed or service.asked
    else:
        asked = or_authorization(allowed) if allowed is not None else service.asked
    if denied is None:
        return asked if allowed is not None else None
    return lambda name: asked(name) and not denied(name)


def _read_status(view: ConfigView) -> int:
    status = view.view("status_on_error")
    return int(status.raw().code) if status is not None else 403  # type: ignore[attr-defined]  # a generated message


def _read_wanted(view: ConfigView, context: FactoryContext) -> Callable[[Stream], bool]:
    matches = context.compile_metadata_matcher(view)
    return lambda stream: matches(stream.dynamic_metadata)


def _read_clear_route(view: ConfigView) -> bool:
    view.boolean("validate_mutations")  # no field of an HTTP answer that isn't valid gets past the codec
    return view.boolean("clear_route_cache")
