"""The runtime, changed while connections are open.

Values are set through a route to the program's own admin interface, so that one connection does everything, in order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ..case import Case, Client, Op, Upstream, Wait, admin, answer, get
from ..known import MODIFIED_IN_PART

NAMED = {
    name: Upstream(((f"HTTP/1.1 200 OK\r\ncontent-length: {len(name)}\r\n\r\n{name}",),)) for name in ("up", "up2")
}
ADMIN = """
- name: $case.admin
  type: STATIC
  load_assignment:
    cluster_name: $case.admin
    endpoints:
    - lb_endpoints:
      - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $admin_port}}}
"""
TO_ADMIN = """
- match: {prefix: /runtime}
  route: {cluster: $case.admin, host_rewrite_literal: localhost}
  typed_per_filter_config:
    csrf: {'@type': FilterConfig, disabled: true}
    limit: {'@type': FilterConfig, disabled: true}
    compress: {'@type': FilterConfig, disabled: true}
"""
PLAIN = "- match: {prefix: /}\n  route: {cluster: $up}\n"
LAYERS = "layered_runtime: {layers: [{name: s, static_layer: %s}, {name: a, admin_layer: {}}]}"


def sets(**values: str) -> str:
    """A request that sets values; "__" in a name stands for a dot."""
    query = "&".join(f"{name.replace('__', '.')}={value}" for name, value in values.items())
    return get(f"/runtime_modify?{query}", method="POST", body="")


def talk(*requests: str) -> tuple[Op, ...]:
    """Each request once the one before is answered and what it changed has reached every thread."""
    ops: list[Op] = []
    for number, request in enumerate(requests, 1):
        ops += [request, Wait("HTTP/1.1 ", number), 0.05]
    return tuple(ops)


def live(name: str, *requests: str, routes: str = PLAIN, static: str = "{}", **more: Any) -> Case:
    more.setdefault("upstreams", NAMED)
    more.setdefault("bootstrap", LAYERS % static)
    view: Callable[[str], str] = more.pop("view", str)
    return Case(
        f"runtime-{name}",
        clients=(Client(talk(*requests), timing=False, view=view),),
        clusters=ADMIN,
        routes=TO_ADMIN + routes,
        alone=True,
        flat_upstream=True,
        **more,
    )


def each(key: str, values: Sequence[str], request: str) -> list[str]:
    """The same request for each value of a key."""
    return [every for value in values for every in (sets(**{key: value}), request)]


VALUES = ("100", "0", "%7Bnumerator:%20100%7D", "%7Bnumerator:%201000000,%20denominator:%20MILLION%7D")
MORE_VALUES = ("true", "101", "99.9", "%22100%22", "100.0", "-1", "1e2", "~", "text", "")
FLAGS = ("true", "false", "1", "0", "2.5", "%22true%22", "yes", "")
CHOOSING = """
- match: {prefix: /s, runtime_fraction: {default_value: {numerator: 0}, runtime_key: r.share}}
  direct_response: {status: 201}
- match: {prefix: /w}
  route: {weighted_clusters: {runtime_key_prefix: w, clusters: [{name: $up, weight: 1}, {name: $up2, weight: 0}]}}
- match: {prefix: /m}
  route:
    cluster: $up
    request_mirror_policies:
    - {cluster: $up2, runtime_fraction: {default_value: {numerator: 0}, runtime_key: r.mirror}}
"""
LOG = """
filter:
  or_filter:
    filters:
    - status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: log.least}}}
    - runtime_filter:
        runtime_key: log.share
        percent_sampled: {numerator: 0, denominator: TEN_THOUSAND}
        use_independent_randomness: true
"""
HTTP = "type.googleapis.com/envoy.extensions.filters.http"
FILTERS = f"""
- fault: {{headers: [{{name: x-hit, present_match: true}}], abort: {{http_status: 503, percentage: {{numerator: 0}}}}}}
- name: csrf
  typed_config:
    '@type': {HTTP}.csrf.v3.CsrfPolicy
    filter_enabled: {{default_value: {{numerator: 0}}, runtime_key: csrf.on}}
- name: limit
  typed_config:
    '@type': {HTTP}.local_ratelimit.v3.LocalRateLimit
    stat_prefix: $case
    token_bucket: {{max_tokens: 1, fill_interval: 100s}}
    filter_enabled: {{default_value: {{numerator: 0}}, runtime_key: limit.on}}
    filter_enforced: {{default_value: {{numerator: 100}}, runtime_key: limit.enforced}}
- name: compress
  typed_config:
    '@type': {HTTP}.compressor.v3.Compressor
    response_direction_config:
      common_config:
        min_content_length: 1
        content_type: [text/plain]
        enabled: {{default_value: false, runtime_key: compress.on}}
    compressor_library:
      name: g
      typed_config: {{'@type': type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip}}
"""
TEXT = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 40\r\n\r\n" + "a" * 40
FOREIGN = get("/", "origin: http://elsewhere", method="POST", body="")
HIT = get("/", "x-hit: 1")


def shown(text: str) -> str:
    """The page without the order of its keys, and without how a message is printed."""
    if not text.startswith("{"):
        return text
    page = json.loads(text)
    for entry in page["entries"].values():
        entry["layer_values"] = ["<message>" if "fields {" in value else value for value in entry["layer_values"]]
        entry["final_value"] = "<message>" if "fields {" in entry["final_value"] else entry["final_value"]
    return json.dumps(page, sort_keys=True)


CASES = [
    live(
        "routing",
        *each("r__share", (*VALUES, *MORE_VALUES), get("/s")),
        *each("w__$up2", ("0", "text", ""), get("/w")),
        sets(**{"w__$up": "0", "w__$up2": "7"}),
        get("/w"),
        *each("r__mirror", ("100", "0"), get("/m")),
        *each("log__least", ("400", "200", "-1", "text"), get("/l")),
        *each("log__share", ("10000", "0"), get("/r")),
        routes=CHOOSING + PLAIN,
        log=LOG,
        static="{w.$up: 3}",
        shows="HTTP/1.1 201 Created",
    ),
    live(
        "filters",
        *(HIT, sets(fault__http__abort__abort_percent="100"), HIT),
        *(sets(fault__http__abort__http_status="429"), HIT),
        *(sets(fault__http__abort__abort_percent="%7Bnumerator:%20100%7D"), HIT),
        *(sets(fault__http__abort__abort_percent="0"), HIT),
        *(FOREIGN, sets(csrf__on="100"), FOREIGN, sets(csrf__on=""), FOREIGN),
        *(get(), get(), sets(limit__on="100"), get(), get(), sets(limit__enforced="0"), get(), sets(limit__on="")),
        *each("compress__on", FLAGS, get("/", "accept-encoding: gzip")),
        static="{compress.on: 'true'}",
        filters=FILTERS,
        upstreams=answer(TEXT),
        stats=r"http\.$case\.(csrf|fault)\.|http\.$case\.compressor.*compressed$|^$case\.http_local_rate_limit\.",
        view=lambda text: "<compressed>" if "JL$" in text or "KL$" in text else text,
        compare_log=False,
        shows=("HTTP/1.1 429", "Invalid origin", "local_rate_limited", "content-encoding: gzip"),
    ),
    live(
        "circuit-breakers",
        *(get("/a"), sets(**{"circuit_breakers__$up__default__max_requests": "0"}), get("/b")),
        *(sets(**{"circuit_breakers__$up__default__max_requests": ""}), get("/c")),
        *(sets(**{"circuit_breakers__$up__high__max_requests": "0"}), get("/d")),
        get("/clusters"),
        *(sets(**{"upstream__maintenance_mode__$up": "100"}), get("/e")),
        *(sets(**{"upstream__maintenance_mode__$up": "0"}), get("/f")),
        routes="- match: {prefix: /clusters}\n  route: {cluster: $case.admin, host_rewrite_literal: localhost}\n"
        + PLAIN,
        stats=r"^cluster\.$up\.(upstream_rq_(total|pending_overflow|maintenance_mode|completed|503)|circuit_breakers\.default\.rq_open)$",
        view=lambda text: "\n".join(line for line in text.split("\n") if "::max_" in line and ".up::" in line) or text,
        shows=("HTTP/1.1 503", "maintenance mode", "high_priority::max_requests::0"),
        compare_log=False,
    ),
    live(
        "outliers",
        *(get("/a"), get("/a"), sets(outlier_detection__consecutive_5xx="4"), get("/a"), get("/a"), get("/a")),
        cluster="outlier_detection: {consecutive_5xx: 50, max_ejection_percent: 100, always_eject_one_host: true}\n"
        "common_lb_config: {healthy_panic_threshold: {value: 0}}",
        upstreams=answer("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"),
        stats=r"^cluster\.$up\.outlier_detection\.ejections_(active|enforced_total)$",
        shows="no healthy upstream",
    ),
    Case(
        "runtime-connections",
        clients=(
            Client((*talk(sets(**{"envoy__resource_limits__listener__$case__connection_limit": "1"}), get("/a")), 2.0)),
            Client((get("/b"),), start=1.2, timing=False),
            admin("/runtime_modify?envoy.resource_limits.listener.$case.connection_limit=", method="POST", start=1.6),
            Client((get("/c"),), start=2.0, timing=False),
        ),
        upstreams=NAMED,
        bootstrap=LAYERS % "{}",
        clusters=ADMIN,
        routes=TO_ADMIN + PLAIN,
        alone=True,
        flat_upstream=True,
        sort_log=True,
        stats=r"listener\..*downstream_cx_overflow",
        shows="downstream_cx_overflow: 1",
    ),
    live(
        "page",
        get("/runtime_modify", method="POST", body=""),
        sets(a="7", e="%7Bnumerator:%203%7D", f="%5B1%5D", g="~"),
        sets(g=""),
        get("/runtime"),
        static="{a: 1, b: {c: true, d: {numerator: 1}}, n: 1000000, t: ' 12 ', m: 'true'}",
        stats=r"^runtime\.",
        view=shown,
        compare_log=False,
    ),
    live(
        "bad-value",
        get("/runtime_modify?b=%7B", method="POST", body=""),
        shows="503 Service Unavailable",
        compare_log=False,
        differs=MODIFIED_IN_PART,
    ),
    live(
        "no-admin-layer",
        sets(a="1"),
        get("/runtime"),
        bootstrap="layered_runtime: {layers: [{name: s, static_layer: {}}]}",
        view=shown,
    ),
    live("no-layers", sets(a="1"), get("/runtime"), bootstrap="layered_runtime: {}", stats=r"^runtime\.", view=shown),
]
