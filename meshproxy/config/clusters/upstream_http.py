"""How a cluster speaks HTTP: `typed_extension_protocol_options`, and the older fields of the cluster itself
(envoy.extensions.upstreams.http.v3.HttpProtocolOptions)."""

from __future__ import annotations

from meshproxy.config.http.http_options import (
    CommonOptions,
    compile_common_options,
    compile_http1_options,
    compile_http2_options,
)
from meshproxy.config.tls.tls import compile_auto_sni
from meshproxy.model.cluster import AutoSni, UpstreamProtocol
from meshproxy.model.codec import Http1Options, Http2Options
from meshproxy.plugin.view import ConfigView
from meshproxy.records import dataclass

HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TCP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions"
_OLDER = (
    "upstream_http_protocol_options",
    "common_http_protocol_options",
    "http_protocol_options",
    "http2_protocol_options",
)
_DEFAULT_RESPONSE_HEADERS_KB = {"http_protocol_options": 80, "http2_protocol_options": 60}


@dataclass(frozen=True, slots=True)
class UpstreamHttp:
    """See `ClusterConfig` for the fields."""

    common: CommonOptions
    http1: Http1Options
    http2: Http2Options
    protocol: UpstreamProtocol = "HTTP1"
    auto_sni: AutoSni | None = None


def names_in_tls(cluster: ConfigView) -> tuple[bool, bool]:
    """Whether a `Cluster` that forwards sends the request's host as server name, and checks certificates against it."""
    typed = cluster.any_map("typed_extension_protocol_options").get(HTTP_PROTOCOL_OPTIONS)
    if typed is not None and typed.view is not None:
        options = typed.view.view("upstream_http_protocol_options")
        if options is None:
            return False, False
    else:
        options = cluster.view("upstream_http_protocol_options")
        if options is None:
            return True, True  # see `compile_upstream_http`
    return options.boolean("auto_sni"), options.boolean("auto_san_validation")


def compile_upstream_http(cluster: ConfigView, *, forwards: bool = False) -> UpstreamHttp:
    """The HTTP options of a `Cluster`, in either form. Raises ConfigError.

    forwards: it goes wherever a request says, so that the older form names the request's host in TLS by itself.
    """
    options = cluster.any_map("typed_extension_protocol_options")
    for name, typed in options.items():
        if name == typed.full_name == _TCP_PROTOCOL_OPTIONS:
            continue  # of raw connections, whose only option `IGNORABLE` has
        if name != HTTP_PROTOCOL_OPTIONS or typed.full_name != name:
            typed.fail(f"'{typed.full_name}' for '{name}' isn't supported by meshproxy")
    typed_options = options.get(HTTP_PROTOCOL_OPTIONS)
    if typed_options is None or typed_options.view is None:
        return _compile_older(cluster, forwards)
    view = typed_options.view
    for older in _OLDER:  # have no effect beside these
        if cluster.has(older):
            cluster.required(older).raw()
    common = compile_common_options(view.view("common_http_protocol_options"), upstream=True)
    protocol, chosen = _compile_protocol(cluster, view)
    return _compile_versions(chosen, common, protocol, compile_auto_sni(view.view("upstream_http_protocol_options")))


def _compile_versions(
    view: ConfigView, common: CommonOptions, protocol: UpstreamProtocol, auto_sni: AutoSni | None = None
) -> UpstreamHttp:
    """view: the message with the options of each version."""
    kilobytes = {name: common.max_response_headers_kb or kb for name, kb in _DEFAULT_RESPONSE_HEADERS_KB.items()}
    http1 = view.view("http_protocol_options")
    http2 = view.view("http2_protocol_options")
    return UpstreamHttp(
        common,
        compile_http1_options(http1, common, kilobytes["http_protocol_options"]),
        compile_http2_options(http2, common, kilobytes["http2_protocol_options"]),
        protocol,
        auto_sni,
    )


def _compile_protocol(cluster: ConfigView, view: ConfigView) -> tuple[UpstreamProtocol, ConfigView]:
    kind = view.which("upstream_protocol_options") or ""
    chosen = view.required(kind)
    if chosen.has("http3_protocol_options"):
        chosen.fail("HTTP/3 isn't supported by meshproxy", "http3_protocol_options")
    if kind == "explicit_http_config":
        return ("HTTP2" if chosen.which("protocol_config") == "http2_protocol_options" else "HTTP1"), chosen
    if kind == "use_downstream_protocol_config":
        return "DOWNSTREAM", chosen
    if not (cluster.has("transport_socket") or cluster.has("transport_socket_matches")):
        name = cluster.text("name")
        view.fail(f"ALPN configured for cluster {name} which has a non-ALPN transport socket", kind)
    return "AUTO", chosen


def _compile_older(cluster: ConfigView, forwards: bool) -> UpstreamHttp:
    sni = cluster.view("upstream_http_protocol_options")
    auto_sni = AutoSni(sni=True, san_validation=True) if forwards and sni is None else compile_auto_sni(sni)
    common = compile_common_options(cluster.view("common_http_protocol_options"), upstream=True)
    protocol: UpstreamProtocol = "HTTP2" if cluster.has("http2_protocol_options") else "HTTP1"
    if cluster.enum("protocol_selection") == "USE_DOWNSTREAM_PROTOCOL":
        protocol = "DOWNSTREAM"
    return _compile_versions(cluster, common, protocol, auto_sni)
