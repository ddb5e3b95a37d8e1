"""Configurations of the benchmark put into other shapes: "router+hosts" is router.yaml with a thousand virtual hosts.

A shape changes the parsed configuration, where `dress` changes its text. Each stands for something that people do with
a proxy and that costs it something with every request; the load that goes with it is in `more_scenarios`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import yaml

from bench.backend import addresses
from bench.odd_shapes import ODD_SHAPES
from bench.shape_parts import Config, add_cluster, add_filter, endpoint, manager, routes

_LOG_FIELDS = (
    "START_TIME",
    "REQ(:METHOD)",
    "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)",
    "PROTOCOL",
    "RESPONSE_CODE",
    "RESPONSE_FLAGS",
    "RESPONSE_CODE_DETAILS",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "DURATION",
    "REQUEST_DURATION",
    "RESPONSE_DURATION",
    "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)",
    "REQ(X-FORWARDED-FOR)",
    "REQ(USER-AGENT)",
    "REQ(X-REQUEST-ID)",
    "REQ(:AUTHORITY)",
    "REQ(TRACEPARENT)",
    "UPSTREAM_HOST",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "ROUTE_NAME",
    "RESP(CONTENT-TYPE)",
)


def _add_log(config: Config, log_format: Config) -> None:
    kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    entry = {"@type": kind, "path": "$access_log", "log_format": log_format}
    manager(config)["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": entry}]


def _many_routes(config: Config) -> None:
    """200 routes, regular expressions and prefixes in turn; those that match are the last ten."""
    table = routes(config)
    action = table[0]["route"]
    others = [
        {"safe_regex": {"regex": f"/v[0-9]+/area{number}/[^/]+/items"}} if number % 2 else {"prefix": f"/area{number}/"}
        for number in range(190)
    ]
    areas = ("cart", "catalogue", "checkout", "currency", "email", "payment", "product", "recommend", "shipping")
    ours = [{"safe_regex": {"regex": f"/{area}/items/[0-9]+"}} for area in areas]
    table[:] = [{"match": match, "route": action} for match in [*others, *ours, {"prefix": "/"}]]


def _many_hosts(config: Config) -> None:
    """A thousand virtual hosts of four names each, as a mesh without a Sidecar resource has them."""
    hosts = manager(config)["route_config"]["virtual_hosts"]
    routes = hosts[0]["routes"]
    for number in range(1000):
        names = [f"service{number}.ns{number % 20}{suffix}" for suffix in ("", ".svc", ".svc.cluster.local")]
        hosts.append({"name": names[2], "domains": [*names, f"*.{names[2]}"], "routes": routes})


def _ring_hash(config: Config) -> None:
    """A ring of a thousand hosts, chosen by a header that differs from user to user."""
    cluster = config["static_resources"]["clusters"][0]
    cluster["lb_policy"] = "RING_HASH"
    hosts = [endpoint("$backend_7", address) for address in addresses()]
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = hosts
    routes(config)[0]["route"]["hash_policy"] = [{"header": {"header_name": "cookie"}}]


def _text_log(config: Config) -> None:
    line = " ".join(f"%{field}%" for field in _LOG_FIELDS)
    _add_log(config, {"text_format_source": {"inline_string": line + "\n"}})


def _json_log(config: Config) -> None:
    fields = {field.partition("?")[0].strip(":").lower(): f"%{field}%" for field in _LOG_FIELDS}
    _add_log(config, {"json_format": fields})


def _tracing(config: Config) -> None:
    add_cluster(config, "zipkin", "$backend_2")
    provider = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
        "collector_cluster": "zipkin",
        "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON",
    }
    manager(config)["tracing"] = {
        "random_sampling": {"value": 100},
        "provider": {"name": "envoy.tracers.zipkin", "typed_config": provider},
    }


def _direct(config: Config) -> None:
    routes(config)[0] = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}


def _redirect(config: Config) -> None:
    first = {"match": {"path": "/cart/items/1"}, "route": routes(config)[0]["route"]}  # which the bench waits for
    routes(config)[:] = [first, {"match": {"prefix": "/"}, "redirect": {"https_redirect": True}}]


def _forbid(config: Config) -> None:
    policy = {"permissions": [{"any": True}], "principals": [{"header": {"name": "cookie", "present_match": True}}]}
    add_filter(config, "rbac.v3.RBAC", rules={"action": "DENY", "policies": {"all": policy}})


def _gzip(config: Config) -> None:
    kind = "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"
    add_filter(config, "compressor.v3.Compressor", compressor_library={"name": "gzip", "typed_config": {"@type": kind}})


def _retries(config: Config) -> None:
    """One in ten requests is answered 503 by its first host."""
    routes(config)[0]["route"]["retry_policy"] = {"retry_on": "5xx", "num_retries": 3}
    cluster = config["static_resources"]["clusters"][0]
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [endpoint("$backend_6")]


def _weighted(config: Config) -> None:
    """Two versions of a service, a tenth for the newer."""
    add_cluster(config, "canary", "$backend_2")
    action = routes(config)[0]["route"]
    clusters = [{"name": action.pop("cluster"), "weight": 90}, {"name": "canary", "weight": 10}]
    action["weighted_clusters"] = {"clusters": clusters}


def _mirror(config: Config) -> None:
    add_cluster(config, "shadow", "$backend_2")
    routes(config)[0]["route"]["request_mirror_policies"] = [{"cluster": "shadow"}]


def _subsets(config: Config) -> None:
    cluster = config["static_resources"]["clusters"][0]
    cluster["lb_subset_config"] = {"fallback_policy": "ANY_ENDPOINT", "subset_selectors": [{"keys": ["version"]}]}
    hosts = [endpoint(f"$backend_{number}") for number in (1, 2, 3)]
    for number, host in enumerate(hosts):
        host["metadata"] = {"filter_metadata": {"envoy.lb": {"version": f"v{number % 2}"}}}
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = hosts
    routes(config)[0]["route"]["metadata_match"] = {"filter_metadata": {"envoy.lb": {"version": "v0"}}}


def _balanced(policy: str) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        cluster = config["static_resources"]["clusters"][0]
        cluster["lb_policy"] = policy
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [endpoint(f"$backend_{n}") for n in (1, 2, 3)]
        routes(config)[0].get("route", {})["hash_policy"] = [{"header": {"header_name": "cookie"}}]

    return change


def _buffer(config: Config) -> None:
    add_filter(config, "buffer.v3.Buffer", max_request_bytes=1 << 20)


def _matching(config: Config) -> None:
    """Routes told apart by fields and parameters, as canaries are."""
    table = routes(config)
    action = table[0]["route"]
    headers = [{"name": "x-canary", "string_match": {"exact": "yes"}}]
    parameters = [{"name": "version", "string_match": {"exact": "2"}}]
    user = [{"name": "cookie", "string_match": {"safe_regex": {"regex": ".*user=test;.*"}}}]
    rewrite = {"pattern": {"regex": "/([a-z]+)/items/"}, "substitution": "/v1/\\1/"}
    table[:] = [
        {"match": {"prefix": "/", "headers": headers}, "route": action},
        {"match": {"prefix": "/", "query_parameters": parameters}, "route": action},
        {"match": {"prefix": "/", "headers": user}, "route": action},
        {
            "match": {"prefix": "/"},
            "route": {**action, "regex_rewrite": rewrite},
            "request_headers_to_add": [
                {"header": {"key": "x-client", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}},
                {"header": {"key": "x-agent", "value": "%REQ(user-agent)%"}},
            ],
            "response_headers_to_add": [{"header": {"key": "x-served-by", "value": "%UPSTREAM_HOST%"}}],
        },
    ]


def _guarded(config: Config) -> None:
    """Outlier ejection and circuit breakers."""
    cluster = config["static_resources"]["clusters"][0]
    cluster["outlier_detection"] = {"consecutive_5xx": 5, "interval": "1s"}
    cluster["circuit_breakers"] = {"thresholds": [{"max_connections": 4096, "max_pending_requests": 4096}]}


SHAPES: Mapping[str, Callable[[Config], None]] = {
    "routes": _many_routes,
    "hosts": _many_hosts,
    "ring": _ring_hash,
    "textlog": _text_log,
    "jsonlog": _json_log,
    "tracing": _tracing,
    "direct": _direct,
    "redirect": _redirect,
    "forbid": _forbid,
    "gzip": _gzip,
    "retries": _retries,
    "weighted": _weighted,
    "mirror": _mirror,
    "subsets": _subsets,
    "least": _balanced("LEAST_REQUEST"),
    "maglev": _balanced("MAGLEV"),
    "buffer": _buffer,
    "matching": _matching,
    "guarded": _guarded,
    **ODD_SHAPES,
}


def shape(text: str, name: str) -> str:
    """The configuration `text` with the shapes that are in `name` behind its first "+"."""
    chosen = [SHAPES[part] for part in name.split("+")[1:] if part in SHAPES]
    if not chosen:
        return text
    config = yaml.safe_load(text)
    for change in chosen:
        change(config)
    return json.dumps(config)
