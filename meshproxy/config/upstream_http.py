"""How a cluster speaks HTTP: `typed_extension_protocol_options`, and the older fields of the cluster itself
(envoy.extensions.upstreams.http.v3.HttpProtocolOptions)."""

from __future__ import annotations

from dataclasses import dataclass

from meshproxy.config.http_options import CommonOptions, compile_common_options, compile_http1_options
from meshproxy.config.tls import compile_auto_sni
from meshproxy.model.cluster import AutoSni
from meshproxy.model.codec import Http1Options
from meshproxy.plugin.view import ConfigView

HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_DEFAULT_RESPONSE_HEADERS_KB = 80


@dataclass(frozen=True, slots=True)
class UpstreamHttp:
    """protocol: "HTTP1" or "DOWNSTREAM", which is the same as long as only HTTP/1 is served."""

    common: CommonOptions
    http1: Http1Options
    protocol: str = "HTTP1"
    auto_sni: AutoSni | None = None


def compile_upstream_http(cluster: ConfigView) -> UpstreamHttp:
    """The HTTP options of a `Cluster`, in either form. Raises ConfigError."""
    options = cluster.any_map("typed_extension_protocol_options")
    for name, typed in options.items():
        if name != HTTP_PROTOCOL_OPTIONS or typed.full_name != name:
            typed.fail(f"'{typed.full_name}' for '{name}' isn't supported by meshproxy")
    typed_options = options.get(HTTP_PROTOCOL_OPTIONS)
    if typed_options is None or typed_options.view is None:
        return _compile_older(cluster)
    view = typed_options.view
    common = compile_common_options(view.view("common_http_protocol_options"), upstream=True)
    protocol, http1 = _compile_protocol(view)
    auto_sni = compile_auto_sni(view.view("upstream_http_protocol_options"))
    return UpstreamHttp(common, _http1_options(http1, common), protocol, auto_sni)


def _http1_options(view: ConfigView | None, common: CommonOptions) -> Http1Options:
    return compile_http1_options(view, common, common.max_response_headers_kb or _DEFAULT_RESPONSE_HEADERS_KB)


def _compile_protocol(view: ConfigView) -> tuple[str, ConfigView | None]:
    kind = view.which("upstream_protocol_options")
    if kind == "explicit_http_config":
        explicit = view.required(kind)
        if explicit.which("protocol_config") != "http_protocol_options":
            explicit.fail("only HTTP/1 to upstreams is supported by meshproxy yet")
        return "HTTP1", explicit.view("http_protocol_options")
    if kind == "use_downstream_protocol_config":
        downstream = view.required(kind)
        return "DOWNSTREAM", downstream.view("http_protocol_options")
    view.fail("choosing the upstream's protocol by ALPN isn't supported by meshproxy yet", kind or "")


def _compile_older(cluster: ConfigView) -> UpstreamHttp:
    if cluster.has("http2_protocol_options"):
        cluster.fail("HTTP/2 to upstreams isn't supported by meshproxy yet", "http2_protocol_options")
    common = compile_common_options(cluster.view("common_http_protocol_options"), upstream=True)
    protocol = "DOWNSTREAM" if cluster.enum("protocol_selection") == "USE_DOWNSTREAM_PROTOCOL" else "HTTP1"
    return UpstreamHttp(common, _http1_options(cluster.view("http_protocol_options"), common), protocol)
