"""The configuration of `ext_proc`: which parts of a request and its response a service is told, and what it may do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshproxy.model.grpc_service import GrpcService
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stats import Counter, StatsScope
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.records import dataclass
from meshproxy_filters.http.ext_proc.messages import Names
from meshproxy_filters.mutation_rules import MutationRules, read_mutation_rules

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_COUNTERS = (
    *("streams_started", "streams_closed", "streams_failed", "stream_msgs_sent", "stream_msgs_received"),
    *("spurious_msgs_received", "failure_mode_allowed", "message_timeouts", "rejected_header_mutations"),
    *("override_message_timeout_received", "override_message_timeout_ignored", "clear_route_cache_ignored"),
    *("clear_route_cache_disabled", "clear_route_cache_upstream_ignored"),
    *("http_not_ok_resp_received", "immediate_responses_sent", "server_half_closed"),
)
FULL_DUPLEX = "FULL_DUPLEX_STREAMED"
_BODIES = ("NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", FULL_DUPLEX)

Attribute = tuple[str, Callable[[StreamInfo], Any]]


@dataclass(frozen=True, slots=True)
class Modes:
    """What the service is told. *_body: "NONE", "STREAMED" piece by piece, "BUFFERED" whole, "BUFFERED_PARTIAL" as much
    as a buffer may hold, or "FULL_DUPLEX_STREAMED": piece by piece, and it says itself what goes on."""

    request_headers: bool = True
    response_headers: bool = True
    request_body: str = "NONE"
    response_body: str = "NONE"
    request_trailers: bool = False
    response_trailers: bool = False

    def agrees(self, other: Modes) -> bool:
        """Whether these are the same in what can still be chosen when a service answers."""
        return replace(self, request_headers=True) == replace(other, request_headers=True)


@dataclass(frozen=True, slots=True, eq=False)
class ExtProcConfig:
    """max_timeout: up to which the service may ask for more time, 0 for never. route_cache: "DEFAULT", "CLEAR" or
    "RETAIN". observes: the service is told and not asked; deferred_close: the seconds that it has at the end.
    told, taken: the namespaces of metadata that the service is told, and that it may set."""

    counters: dict[str, Counter]
    service: GrpcService
    modes: Modes
    failure_allowed: bool
    timeout: float
    max_timeout: float
    status_on_error: int
    rules: MutationRules
    wanted: Names
    request_attributes: tuple[Attribute, ...]
    response_attributes: tuple[Attribute, ...]
    told: tuple[str, ...]
    taken: tuple[str, ...]
    allow_override: bool
    allowed_modes: tuple[Modes, ...]
    allow_immediate: bool
    route_cache: str
    observes: bool
    deferred_close: float
    disabled: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Override:
    """What a route says; None leaves what the filter says."""

    disabled: bool = False
    modes: Modes | None = None
    service: GrpcService | None = None
    initial_metadata: tuple[tuple[str, str], ...] = ()
    failure_allowed: bool | None = None
    request_attributes: tuple[Attribute, ...] = ()
    response_attributes: tuple[Attribute, ...] = ()
    told: tuple[str, ...] | None = None
    taken: tuple[str, ...] | None = None


def apply_override(base: ExtProcConfig, route: Override) -> ExtProcConfig:
    """What a route makes of the filter's configuration."""
    return replace(
        base,
        disabled=route.disabled,
        modes=route.modes or base.modes,
        service=_with_metadata(route.service or base.service, route.initial_metadata),
        failure_allowed=base.failure_allowed if route.failure_allowed is None else route.failure_allowed,
        request_attributes=route.request_attributes or base.request_attributes,
        response_attributes=route.response_attributes or base.response_attributes,
        told=base.told if route.told is None else route.told,
        taken=base.taken if route.taken is None else route.taken,
    )


def _with_metadata(service: GrpcService, more: tuple[tuple[str, str], ...]) -> GrpcService:
    """With further fields, which take the place of those with the same name."""
    merged = tuple({**dict(service.initial_metadata), **dict(more)}.items())
    return replace(service, initial_metadata=merged) if more else service


def read_config(view: ConfigView, context: FactoryContext) -> ExtProcConfig:
    """`ExternalProcessor`. Raises ConfigError."""
    modes = view.view("processing_mode")
    told, taken = _namespaces(view.view("metadata_options"))
    status = view.view("status_on_error")
    return ExtProcConfig(
        counters=_counters(view.text("stat_prefix"), context.stats),
        service=context.compile_grpc_service(view.required("grpc_service")),
        modes=read_modes(modes) if modes is not None else Modes(),
        failure_allowed=view.boolean("failure_mode_allow"),
        timeout=view.seconds("message_timeout", 0.2),
        max_timeout=view.seconds("max_message_timeout", 0.0),
        status_on_error=int(status.raw().code) if status is not None else 500,  # type: ignore[attr-defined]  # an HttpStatus
        rules=read_mutation_rules(view.view("mutation_rules"), context),
        wanted=_read_wanted(view.view("forward_rules"), context),
        request_attributes=_attributes(view, "request_attributes", context),
        response_attributes=_attributes(view, "response_attributes", context),
        told=told or (),
        taken=taken or (),
        allow_override=view.boolean("allow_mode_override"),
        allowed_modes=tuple(read_modes(entry) for entry in view.views("allowed_override_modes")),
        allow_immediate=not view.boolean("disable_immediate_response"),
        route_cache=_read_route_cache(view),
        observes=view.boolean("observability_mode"),
        deferred_close=view.seconds("deferred_close_timeout", 5.0),
    )


def read_override(view: ConfigView, context: FactoryContext) -> Override:
    """`ExtProcPerRoute`. Raises ConfigError."""
    if view.which("override") == "disabled":
        view.boolean("disabled")
        return Override(disabled=True)
    settings = view.required("overrides")
    modes, service = settings.view("processing_mode"), settings.view("grpc_service")
    told, taken = _namespaces(settings.view("metadata_options"))
    return Override(
        modes=read_modes(modes) if modes is not None else None,
        service=context.compile_grpc_service(service) if service is not None else None,
        initial_metadata=tuple(
            (entry.text("key").lower(), entry.text("value")) for entry in settings.views("grpc_initial_metadata")
        ),
        failure_allowed=settings.boolean("failure_mode_allow") if settings.has("failure_mode_allow") else None,
        request_attributes=_attributes(settings, "request_attributes", context),
        response_attributes=_attributes(settings, "response_attributes", context),
        told=told,
        taken=taken,
    )


def read_modes(view: ConfigView) -> Modes:
    """`ProcessingMode`. Raises ConfigError."""
    for direction in ("request", "response"):
        name, trailers = f"{direction}_body_mode", f"{direction}_trailer_mode"
        mode = view.enum(name)
        if mode not in _BODIES:
            view.fail(f"the mode {mode} isn't supported by meshproxy; {', '.join(_BODIES)} are", name)
        if mode == FULL_DUPLEX and view.enum(trailers) != "SEND":
            view.fail(f"with a {name} of {FULL_DUPLEX} it must be SEND", trailers)
    return Modes(
        request_headers=view.enum("request_header_mode") != "SKIP",
        response_headers=view.enum("response_header_mode") != "SKIP",
        request_body=view.enum("request_body_mode"),
        response_body=view.enum("response_body_mode"),
        request_trailers=view.enum("request_trailer_mode") == "SEND",
        response_trailers=view.enum("response_trailer_mode") == "SEND",
    )


def modes_of(message: Any) -> Modes | None:
    """A `ProcessingMode` that the service sent; None for one that isn't there."""
    if max(message.request_body_mode, message.response_body_mode) >= len(_BODIES):
        return None
    return Modes(
        request_headers=message.request_header_mode != 2,
        response_headers=message.response_header_mode != 2,
        request_body=_BODIES[message.request_body_mode],
        response_body=_BODIES[message.response_body_mode],
        request_trailers=message.request_trailer_mode == 1,
        response_trailers=message.response_trailer_mode == 1,
    )


def _counters(prefix: str, stats: StatsScope) -> dict[str, Counter]:
    scope = stats.scope(f"ext_proc.{prefix}." if prefix else "ext_proc.")
    return {name: scope.counter(name) for name in _COUNTERS}


def _namespaces(view: ConfigView | None) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    if view is None:
        return None, None
    told, taken = view.view("forwarding_namespaces"), view.view("receiving_namespaces")
    return (
        tuple(told.texts("untyped")) if told is not None else None,
        tuple(taken.texts("untyped")) if taken is not None else None,
    )


def _attributes(view: ConfigView, field: str, context: FactoryContext) -> tuple[Attribute, ...]:
    try:
        return tuple((text, context.compile_attribute(text)) for text in view.texts(field))
    except ValueError as error:
        view.fail(str(error), field)


def _read_wanted(view: ConfigView | None, context: FactoryContext) -> Names:
    allowed, refused = _read_names(view, "allowed_headers", context), _read_names(view, "disallowed_headers", context)
    if not allowed and not refused:
        return lambda name: True

    def wanted(name: str) -> bool:
        return (not allowed or any(test(name) for test in allowed)) and not any(test(name) for test in refused)

    return wanted


def _read_names(view: ConfigView | None, field: str, context: FactoryContext) -> Sequence[Names]:
    names = view.view(field) if view is not None else None
    return [context.compile_string_matcher(entry) for entry in names.views("patterns")] if names is not None else ()


def _read_route_cache(view: ConfigView) -> str:
    action = view.enum("route_cache_action")
    if not view.boolean("disable_clear_route_cache"):
        return action
    if action != "DEFAULT":
        view.fail(
            "disable_clear_route_cache and route_cache_action can not be set to none-default at the same time.",
            "route_cache_action",
        )
    return "RETAIN"
