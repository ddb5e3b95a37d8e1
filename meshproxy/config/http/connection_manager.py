"""The HTTP connection manager (envoy.extensions.filters.network.http_connection_manager.v3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.address import CidrRange, CidrSet
from meshproxy.config.http.client_detection import compile_client_detection
from meshproxy.config.http.filters import compile_chain, compile_filter, find_filter_config, is_discovered
from meshproxy.config.http.header_mutations import compile_change
from meshproxy.config.http.http_options import (
    CommonOptions,
    compile_common_options,
    compile_http1_options,
    compile_http2_options,
)
from meshproxy.config.http.local_replies import compile_local_replies
from meshproxy.config.http.routes import compile_discovered_routes, compile_route_table
from meshproxy.config.reporting.access_logs import compile_access_logs
from meshproxy.config.reporting.tracing import compile_tracing
from meshproxy.config.values.addresses import compile_ranges
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.discovery import compile_config_source
from meshproxy.errors import ConfigError
from meshproxy.model.http import HttpConnectionManagerConfig, LocalReplyConfig, ProxyStatusConfig, UpgradeConfig
from meshproxy.model.listener import AccessLog, FilterSpec
from meshproxy.model.mirror import HeaderChange
from meshproxy.model.route_slot import RouteSlot
from meshproxy.plugin.registry import UnknownFilter
from meshproxy.plugin.stats import StatNames, StatsScope
from meshproxy.plugin.view import ConfigView

HTTP_CONNECTION_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_EARLY_MUTATION = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_UUID = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
_REJECT_FRAGMENT = "envoy.reloadable_features.http_reject_path_with_fragment"
_DEFAULT_HEADERS_KB = 60
_PRIVATE_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.1", "fd00::/8", "::1")
_TRACING = StatNames(
    counters=(
        "tracing.client_enabled",
        "tracing.health_check",
        "tracing.not_traceable",
        "tracing.random_sampling",
        "tracing.service_forced",
    )
)


def compile_http_connection_manager(view: ConfigView, context: CompileContext) -> HttpConnectionManagerConfig:
    """Everything of a connection manager. Problems of its parts are noted in the context."""
    stat_prefix = view.text("stat_prefix")
    stats = context.stats.scope(f"http.{stat_prefix}.")
    stats.declare(_TRACING)
    scheme = view.view("scheme_header_transformation")
    context.scheme_of_upstream = scheme is not None and scheme.boolean("match_upstream")
    http_filters = compile_http_filters(view, "http_filters", stats, context)
    upgrades = _compile_upgrades(view, stats, context)
    common = compile_common_options(view.view("common_http_protocol_options"), upstream=False)
    kilobytes = view.integer("max_request_headers_kb", _DEFAULT_HEADERS_KB)
    return HttpConnectionManagerConfig(
        stat_prefix=stat_prefix,
        routes=_compile_routes(view, (*http_filters, *_filters_of(upgrades)), context),
        http_filters=http_filters,
        codec_type=_compile_codec(view, context),
        http1=compile_http1_options(view.view("http_protocol_options"), common, kilobytes),
        http2=compile_http2_options(
            view.view("http2_protocol_options"),
            common,
            kilobytes,
            stream_errors=view.boolean("stream_error_on_invalid_http_message"),
        ),
        upgrades=upgrades,
        sheds_load=context.overload is not None and context.overload.sheds_requests,
        tells_overload=view.boolean("append_local_overload"),
        access_logs=_compile_logs(view, context),
        measures_routes=context.formats.measures_routes(),
        **_compile_identity(view),
        **_compile_addresses(view),
        **_compile_request_id(view, context),
        **_compile_paths_and_hosts(view, context),
        **_compile_limits(view, common),
        early_changes=_compile_early_changes(view, context),
        local_reply=_compile_local_reply(view, context),
        proxy_status=_compile_proxy_status(view, context),
        **_compile_log_times(view),
    )


def compile_http_filters(
    view: ConfigView, field: str, stats: StatsScope, context: CompileContext
) -> tuple[FilterSpec, ...]:
    """A chain of `HttpFilter`. Problems are noted in the context."""
    return compile_chain(view.views(field), "HTTP", lambda entry: _compile_http_filter(entry, stats, context), context)


def _compile_http_filter(view: ConfigView, stats: StatsScope, context: CompileContext) -> FilterSpec | None:
    disabled = view.boolean("disabled")
    if view.boolean("is_optional") and not is_discovered(view):
        typed = find_filter_config(view)
        try:
            context.registry.find(typed.full_name, "HTTP")
        except UnknownFilter as error:
            context.warnings.append(typed.error(f"optional filter left out: {error}"))
            view.text("name")
            return None
    return compile_filter(view, "HTTP", stats, context, disabled=disabled)


def _compile_codec(view: ConfigView, context: CompileContext) -> str:
    codec = view.enum("codec_type")
    if codec == "HTTP3":
        context.problems.append(view.error(f"{codec} isn't supported by meshproxy yet", "codec_type"))
    return codec


def _compile_routes(view: ConfigView, filters: tuple[FilterSpec, ...], context: CompileContext) -> RouteSlot:
    kind = view.which("route_specifier")
    if kind == "route_config":
        return RouteSlot(compile_route_table(view.required("route_config"), filters, context))
    if kind == "rds":
        rds = view.required("rds")
        return RouteSlot(
            source=compile_config_source(rds.required("config_source"), context),
            name=rds.text("route_config_name"),
            compile=lambda routes: compile_discovered_routes(routes, filters, context),
        )
    view.fail(f"'{kind}' isn't supported by meshproxy yet" if kind else "'route_config' is required", kind or "")


def _compile_upgrades(view: ConfigView, stats: StatsScope, context: CompileContext) -> Mapping[str, UpgradeConfig]:
    upgrades: dict[str, UpgradeConfig] = {}
    for entry in view.views("upgrade_configs"):
        with entry.collect(context.problems):
            kind = entry.text("upgrade_type").lower()
            if kind in upgrades:
                entry.fail(f"multiple upgrade configs with the same name: '{kind}'", "upgrade_type")
            if kind == "connect-udp":
                entry.fail(f"{kind.upper()} isn't supported by meshproxy", "upgrade_type")
            filters = compile_http_filters(entry, "filters", stats, context) if entry.views("filters") else None
            upgrades[kind] = UpgradeConfig(entry.boolean("enabled", True), filters)
    return upgrades


def _filters_of(upgrades: Mapping[str, UpgradeConfig]) -> tuple[FilterSpec, ...]:
    return tuple(spec for upgrade in upgrades.values() for spec in upgrade.filters or ())


def _compile_logs(view: ConfigView, context: CompileContext) -> tuple[AccessLog, ...]:
    entries = view.views("access_log")
    try:
        return compile_access_logs(entries, context)
    except ConfigError as error:
        context.problems += error.problems
        return ()


def _compile_identity(view: ConfigView) -> dict[str, Any]:
    details = view.view("set_current_client_cert_details")
    named = ("subject", "cert", "chain", "dns", "uri")
    return {
        "server_name": view.text("server_name") or "envoy",
        "server_header_transformation": view.enum("server_header_transformation"),
        "via": view.text("via"),
        "add_user_agent": view.boolean("add_user_agent"),
        "forward_client_cert_details": view.enum("forward_client_cert_details"),
        "set_current_client_cert_details": frozenset(
            name for name in named if details is not None and details.boolean(name)
        ),
    }


def _compile_addresses(view: ConfigView) -> dict[str, Any]:
    internal = view.view("internal_address_config")
    return {
        "use_remote_address": view.boolean("use_remote_address"),
        "xff_num_trusted_hops": view.integer("xff_num_trusted_hops"),
        "skip_xff_append": view.boolean("skip_xff_append"),
        "append_x_forwarded_port": view.boolean("append_x_forwarded_port"),
        "tells_addresses": view.boolean("add_proxy_protocol_connection_state", True),
        "client_detection": compile_client_detection(view),
        "shows_ipv4_as_ipv6": view.boolean("represent_ipv4_remote_address_as_ipv4_mapped_ipv6"),
        "internal_unix_sockets": internal is not None and internal.boolean("unix_sockets"),
        "internal_addresses": _compile_internal(internal) if internal is not None else None,
    }


def _compile_early_changes(view: ConfigView, context: CompileContext) -> tuple[HeaderChange, ...]:
    """`early_header_mutation_extensions`: what is done to a head before anything else."""
    changes: list[HeaderChange] = []
    for entry in view.views("early_header_mutation_extensions"):
        with entry.collect(context.problems):
            entry.text("name")  # a label; the extension is found by the type of its configuration, as in Envoy
            typed = entry.any("typed_config")
            if typed is None or typed.full_name != _EARLY_MUTATION or typed.view is None:
                entry.fail(f"the only one that there is, also in Envoy, is {_EARLY_MUTATION}")
            changes += [compile_change(each, context) for each in typed.view.views("mutations")]
    return tuple(changes)


def _compile_request_id(view: ConfigView, context: CompileContext) -> dict[str, Any]:
    extension = view.view("request_id_extension")
    pack = by_request_id = True
    if extension is not None:
        typed = extension.any("typed_config")
        if typed is None and extension.has("typed_config"):
            extension.fail("it has no type", "typed_config")
        if typed is not None:
            uuid = typed.message(_UUID)
            pack = uuid.boolean("pack_trace_reason", True)
            by_request_id = uuid.boolean("use_request_id_for_trace_sampling", True)
    return {
        "generate_request_id": view.boolean("generate_request_id", True),
        "preserve_external_request_id": view.boolean("preserve_external_request_id"),
        "packs_trace_reason": pack,
        "always_set_request_id_in_response": view.boolean("always_set_request_id_in_response"),
        "tracing": compile_tracing(view.view("tracing"), context, by_request_id=by_request_id, pack_reason=pack),
    }


def _compile_internal(view: ConfigView) -> CidrSet:
    return CidrSet(compile_ranges(view, "cidr_ranges") or map(CidrRange.parse, _PRIVATE_RANGES))


def _compile_paths_and_hosts(view: ConfigView, context: CompileContext) -> dict[str, Any]:
    any_port = view.boolean("strip_any_host_port")
    matching_port = view.boolean("strip_matching_host_port")
    if any_port and matching_port:
        view.fail("only one of 'strip_matching_host_port' and 'strip_any_host_port' can be set", "strip_any_host_port")
    scheme = view.view("scheme_header_transformation")
    escaped = view.enum("path_with_escaped_slashes_action")
    return {
        "normalize_path": view.boolean("normalize_path"),
        "merge_slashes": view.boolean("merge_slashes"),
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED" if escaped.startswith("IMPLEMENTATION") else escaped,
        "reject_path_with_fragment": context.runtime.get(_REJECT_FRAGMENT, True) is not False,
        "strip_matching_host_port": matching_port,
        "strip_any_host_port": any_port,
        "strip_trailing_host_dot": view.boolean("strip_trailing_host_dot"),
        "scheme_of_port": _compile_forward_proto(view),
        "scheme_to_overwrite": scheme.text("scheme_to_overwrite") if scheme is not None else "",
    }


def _compile_limits(view: ConfigView, common: CommonOptions) -> dict[str, Any]:
    http1 = view.view("http_protocol_options")
    on_invalid = view.boolean("stream_error_on_invalid_http_message")
    jitter = view.view("drain_timeout_jitter")
    if http1 is not None:
        on_invalid = http1.boolean("override_stream_error_on_invalid_http_message", on_invalid)
    return {
        "idle_timeout": common.idle_timeout,
        "max_connection_duration": common.max_connection_duration,
        "max_connection_duration_jitter": common.max_connection_duration_jitter,
        "http1_safe_max_connection_duration": view.boolean("http1_safe_max_connection_duration"),
        "max_stream_duration": common.max_stream_duration,
        "max_requests_per_connection": common.max_requests_per_connection,
        "stream_idle_timeout": view.seconds("stream_idle_timeout", 300.0),
        "stream_flush_timeout": view.duration("stream_flush_timeout"),
        "request_timeout": view.seconds("request_timeout", 0.0),
        "request_headers_timeout": view.seconds("request_headers_timeout", 0.0),
        "drain_timeout": view.seconds("drain_timeout", 5.0),
        "drain_timeout_jitter": jitter.number("value") / 100.0 if jitter is not None else 0.0,
        "delayed_close_timeout": view.seconds("delayed_close_timeout", 1.0),
        "proxy_100_continue": view.boolean("proxy_100_continue"),
        "stream_error_on_invalid_http_message": on_invalid,
    }


def _compile_forward_proto(view: ConfigView) -> Mapping[int, str] | None:
    """`forward_proto_config`: the scheme by the port that a connection was going to."""
    ports = view.view("forward_proto_config")
    if ports is None:
        return None
    plain = dict.fromkeys(ports.integers("http_destination_ports"), "http")
    return plain | dict.fromkeys(ports.integers("https_destination_ports"), "https")


def _compile_local_reply(view: ConfigView, context: CompileContext) -> LocalReplyConfig | None:
    local_reply = view.view("local_reply_config")
    return compile_local_replies(local_reply, context) if local_reply is not None else None


def _compile_proxy_status(view: ConfigView, context: CompileContext) -> ProxyStatusConfig | None:
    status = view.view("proxy_status_config")
    if status is None:
        return None
    match status.which("proxy_name"):
        case "literal_proxy_name":
            name = status.text("literal_proxy_name")
        case "use_node_id":
            status.boolean("use_node_id")  # also a false one, as in Envoy
            name = context.node.id
        case _:
            name = view.text("server_name") or "envoy"
    return ProxyStatusConfig(
        name,
        details=not status.boolean("remove_details"),
        termination_details=not status.boolean("remove_connection_termination_details"),
        flags=not status.boolean("remove_response_flags"),
        sets_status=status.boolean("set_recommended_response_code"),
    )


def _compile_log_times(view: ConfigView) -> dict[str, Any]:
    """When a row is written to the access log besides the end of a request."""
    options = view.view("access_log_options")
    if options is None:
        return {
            "log_new_requests": view.boolean("flush_access_log_on_new_request"),
            "log_interval": view.seconds("access_log_flush_interval", 0.0),
        }
    for old in ("access_log_flush_interval", "flush_access_log_on_new_request"):
        if view.has(old):
            view.fail("it can't be set together with 'access_log_options'", old)
    return {
        "log_new_requests": options.boolean("flush_access_log_on_new_request"),
        "log_interval": options.seconds("access_log_flush_interval", 0.0),
        "log_tunnels": options.boolean("flush_log_on_tunnel_successfully_established"),
    }
