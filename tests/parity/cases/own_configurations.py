"""Whole configurations, with the requests that follow from their routes: what `tests.parity.compare` does."""

from __future__ import annotations

import textwrap

import yaml

from ..own.comparison import case_of

_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_EXT = "type.googleapis.com/envoy.extensions"
_CLUSTER = """
- name: {name}
  type: STRICT_DNS
  load_assignment:
    cluster_name: {name}
    endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {name}.test, port_value: 80}}}}}}}}]}}]
"""
_H2 = f"""\
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": {_EXT}.upstreams.http.v3.HttpProtocolOptions
      explicit_http_config: {{http2_protocol_options: {{}}}}
  transport_socket:
    name: tls
    typed_config: {{"@type": {_EXT}.transport_sockets.tls.v3.UpstreamTlsContext, sni: orders.test}}
"""
_LISTENER = f"""
- name: front
  address: {{socket_address: {{address: 0.0.0.0, port_value: 443}}}}
  filter_chains:
  - filters:
    - name: http
      typed_config:
        "@type": {_HTTP}
        stat_prefix: front
        access_log: [{{name: out, typed_config: {{"@type": {_EXT}.access_loggers.stream.v3.StdoutAccessLog}}}}]
        http_filters: [{{name: router, typed_config: {{"@type": {_EXT}.filters.http.router.v3.Router}}}}]
"""
_TLS = f"""\
    transport_socket:
      name: tls
      typed_config:
        "@type": {_EXT}.transport_sockets.tls.v3.DownstreamTlsContext
        common_tls_context:
          alpn_protocols: ["h2,http/1.1"]
          tls_certificates: [{{certificate_chain: {{filename: shop.pem}}, private_key: {{filename: shop.key}}}}]
"""

EDGE = """
use_remote_address: true
normalize_path: true
merge_slashes: true
path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT
common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}
route_config:
  virtual_hosts:
  - name: shop
    domains: [shop.test, "*.shop.test", "shop.test:8080"]
    require_tls: EXTERNAL_ONLY
    routes:
    - {match: {path: /old}, redirect: {path_redirect: /new, response_code: PERMANENT_REDIRECT}}
    - {match: {path_separated_prefix: /orders}, route: {cluster: orders, prefix_rewrite: /v1/orders}}
    - match: {prefix: /, headers: [{name: x-canary, string_match: {prefix: "yes"}}, {name: x-off, present_match: false}]}
      route: {cluster: orders}
    - match: {safe_regex: {regex: "/item/[0-9]+(/.*)?"}, query_parameters: [{name: v, string_match: {exact: "2"}}]}
      route: {cluster: web, regex_rewrite: {pattern: {regex: "^/item/([0-9]+)"}, substitution: "/\\\\1"}}
    - {match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: web, weight: 1}, {name: orders, weight: 2}]}}}
  - name: rest
    domains: ["*"]
    routes: [{match: {prefix: /}, direct_response: {status: 403, body: {inline_string: "denied\\n"}}}]
"""


def _bootstrap(manager: str, *, tls: bool) -> str:
    listener = _LISTENER + textwrap.indent(manager, " " * 8) + (_TLS if tls else "")
    clusters = _CLUSTER.format(name="web") + _CLUSTER.format(name="orders") + _H2
    parts = {"listeners": listener, "clusters": clusters}
    return "static_resources:" + "".join(f"\n  {key}:{textwrap.indent(text, '  ')}" for key, text in parts.items())


CASES = [
    case_of("own-edge", yaml.safe_load(_bootstrap(EDGE, tls=True))),
]
