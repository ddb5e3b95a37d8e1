"""Tracing: which requests are traced, what goes on with them, and what the collector is told (Zipkin)."""

from __future__ import annotations

import json
from typing import Any

from ..case import LEFT, REFUSE, Act, Case, Upstream, get

COLLECTED = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
_ID = r"[0-9a-f]{16}"


def spans(body: bytes) -> str:
    """Zipkin's spans without times, keys in order."""
    shown: list[Any] = json.loads(body) if body else []
    for span in shown:
        del span["timestamp"], span["duration"]
        for annotation in span["annotations"]:
            del annotation["timestamp"]
    return json.dumps(shown, sort_keys=True)


GIVEN = ("463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312", "0020000000000001")
B3 = (f"x-b3-traceid: {GIVEN[0]}", f"x-b3-spanid: {GIVEN[1]}", f"x-b3-parentspanid: {GIVEN[2]}")
W3C = (f"traceparent: 00-{GIVEN[0]}-{GIVEN[1]}-01", "tracestate: a=b,c=d")
# Drawn ids are hidden, ids that a client gave are not; the nibble of the request id that tells why is kept.
MASKS = (
    (r"(x-b3-traceid: |\"traceId\": \")(?!463ac)[0-9a-f]{16}(?:[0-9a-f]{16})?", r"\1<drawn>"),
    (rf"(x-b3-spanid: |x-b3-parentspanid: |\"id\": \"|\"parentId\": \")(?!a2fb4a1d|00200000){_ID}", r"\1<drawn>"),
    (rf"(b3: ){_ID}-{_ID}-", r"\1<drawn>-<drawn>-"),
    (rf"(b3: [0-9a-f]{{32}}-)(?!a2fb4a1d){_ID}", r"\1<drawn>"),
    (rf"(00-)(?!463ac)[0-9a-f]{{32}}-{_ID}", r"\1<drawn>-<drawn>"),
    (rf"(00-463ac[0-9a-f]{{27}}-)(?!a2fb4a1d){_ID}", r"\1<drawn>"),
    (r"(guid:x-request-id\": \")[0-9a-f]{8}-[0-9a-f]{4}-(.)[0-9a-f-]+", r"\1<\2>"),
    *LEFT,
)
FLUSH = "layered_runtime: {layers: [{name: s, static_layer: {tracing.zipkin.min_flush_spans: 1%s}}]}"
PROVIDER = """
  provider:
    name: envoy.tracers.zipkin
    typed_config:
      '@type': type.googleapis.com/envoy.config.trace.v3.ZipkinConfig
      collector_cluster: $up2
      collector_endpoint: /api/v2/spans
      collector_endpoint_version: HTTP_JSON
"""


def traced(
    name: str,
    *requests: str,
    options: str = "",
    provider: str = "",
    direction: str = "OUTBOUND",
    route: str = "",
    collected: bool = True,
    **more: Any,
) -> Case:
    """One route to $up, traced; spans go to $up2. options: of `tracing`; provider: of Zipkin; route: beside `route`."""
    zipkin = PROVIDER + "".join(f"      {line}\n" for line in provider.splitlines())
    tracing = "tracing:\n" + "".join(f"  {line}\n" for line in options.splitlines()) + zipkin
    routes = "- match: {prefix: /}\n  route: {cluster: $up, retry_policy: {retry_on: 5xx}}\n"
    routes += "".join(f"  {line}\n" for line in route.splitlines())
    more.setdefault("upstreams", {})
    upstreams = {
        "up": Upstream(((more.pop("answer", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),),)),
        "up2": Upstream(((COLLECTED,),), view=spans),
        **more.pop("upstreams"),
    }
    more.setdefault("stats", r"http\.$case\.tracing|tracing\.zipkin\.(spans|reports)")
    more.setdefault("shows", '"kind"' if collected else "HTTP/1.1")
    more.setdefault("bootstrap", FLUSH % "")
    return Case(
        f"trace-{name}",
        tuple(op for request in requests or (get("/p?q=1", "user-agent: me"),) for op in (request, 0.3)),
        hcm=tracing + more.pop("hcm", ""),
        listener=f"traffic_direction: {direction}",
        routes=routes,
        upstreams=upstreams,
        masks=MASKS,
        alone=True,
        timing=False,
        **more,
    )


def mirrored(name: str, mirror: Upstream, policy: str = "", *, given: str = "") -> Case:
    """Copies go to $up3. policy: more of the policy; given: whether the client says that the trace is sampled."""
    return traced(
        name,
        get("/", *B3, f"x-b3-sampled: {given}") if given else get(),
        upstreams={"up3": mirror},
        vhost=f"{{request_mirror_policies: [{{cluster: $up3{policy}}}]}}",
        flat_upstream=True,
        sort_upstream=True,
    )


TAGS = """
custom_tags:
- {tag: lit, literal: {value: v}}
- {tag: hdr, request_header: {name: x-h, default_value: none}}
- {tag: env, environment: {name: NO_SUCH_VARIABLE, default_value: de}}
- {tag: unset, environment: {name: NO_SUCH_VARIABLE}}
- {tag: md, metadata: {kind: {route: {}}, metadata_key: {key: a.b, path: [{key: c}]}, default_value: dm}}
- {tag: deep, metadata: {kind: {route: {}}, metadata_key: {key: a.b, path: [{key: d}, {key: e}]}}}
- {tag: num, metadata: {kind: {route: {}}, metadata_key: {key: a.b, path: [{key: n}]}}}
- {tag: val, value: '%REQ(x-h)%'}
"""
METADATA = "metadata: {filter_metadata: {a.b: {c: {d: [1, x, true]}, d: {e: f}, n: 5}}}"
DECORATED = "decorator: {operation: my-op}"
UNTOLD = "decorator: {operation: my-op, propagate: false}"
EDGE = "\nuse_remote_address: true"
ID = "x-request-id: 12345678-1234-%s234-8234-123456789012"

NAMED = "operation: 'op %REQ(x-op)% %RESPONSE_CODE%'"
CASES = [
    *(
        traced(
            f"named-{direction.lower()}",
            get("/p", "x-op: a", "x-envoy-decorator-operation: theirs"),
            options=NAMED,
            route=DECORATED,
            direction=direction,
            answer="HTTP/1.1 200 OK\r\nx-envoy-decorator-operation: answered\r\ncontent-length: 2\r\n\r\nok",
        )
        for direction in ("INBOUND", "OUTBOUND")
    ),
    traced(
        "named-without-their-fields",
        get("/p"),
        options="operation: '%REQ(x-op)%'\nspawn_upstream_span: true\nupstream_operation: '%REQ(x-op)%'",
        route=DECORATED,
    ),
    traced(
        "named-by-the-route",
        get("/p", "x-op: a"),
        options="operation: x\nspawn_upstream_span: true\nupstream_operation: y",
        route="tracing: {operation: 'route %REQ(x-op)%', upstream_operation: 'up %REQ(x-op)% %UPSTREAM_CLUSTER%'}",
    ),
    traced("outbound"),
    traced("verbose", get("/p", method="POST", body="abc"), options="verbose: true"),
    traced("verbose-attempts", options="verbose: true\nspawn_upstream_span: true"),
    traced("verbose-refused", options="verbose: true", upstreams=REFUSE),
    traced("inbound", direction="INBOUND"),
    traced("unspecified", direction="UNSPECIFIED"),
    traced("long-ids", provider="trace_id_128bit: true"),
    traced("b3", get("/", *B3, "x-b3-sampled: 1")),
    traced("b3-inbound", get("/", *B3, "x-b3-sampled: 1"), direction="INBOUND"),
    traced(
        "b3-inbound-not-shared",
        get("/", *B3, "x-b3-sampled: 1"),
        direction="INBOUND",
        provider="shared_span_context: false",
    ),
    traced("b3-short", get("/", "x-b3-traceid: 48485a3953bb6124", "x-b3-spanid: a2fb4a1d1a96d312", "x-b3-sampled: 1")),
    traced("b3-not-sampled", get("/", *B3, "x-b3-sampled: 0"), collected=False),
    traced("b3-flags", get("/", *B3, "x-b3-flags: 1")),
    traced("b3-undecided", get("/", *B3)),
    traced("b3-malformed", get("/", "x-b3-traceid: zz", "x-b3-spanid: a2fb4a1d1a96d312"), collected=False),
    traced("b3-single", get("/", f"b3: {GIVEN[0]}-{GIVEN[1]}-1-{GIVEN[2]}")),
    traced("b3-single-not-sampled", get("/", f"b3: {GIVEN[0]}-{GIVEN[1]}-0"), collected=False),
    traced("b3-single-deny", get("/", "b3: 0"), collected=False),
    traced("w3c-too", get("/", *W3C), provider="trace_context_option: USE_B3_WITH_W3C_PROPAGATION"),
    traced("w3c-ignored", get("/", *W3C)),
    traced("tags", get("/", "x-h: hv"), get(), options=TAGS, route=METADATA),
    traced("decorated", route=DECORATED, shows="x-envoy-decorator-operation: my-op"),
    traced("decorated-inbound", route=DECORATED, direction="INBOUND", shows="x-envoy-decorator-operation: my-op"),
    traced("decorated-untold", route=UNTOLD),
    traced("decorated-untold-inbound", route=UNTOLD, direction="INBOUND"),
    traced(
        "decorated-by-client", get("/", "x-envoy-decorator-operation: theirs"), route=DECORATED, direction="INBOUND"
    ),
    traced(
        "decorated-by-upstream",
        route=DECORATED,
        answer="HTTP/1.1 200 OK\r\nx-envoy-decorator-operation: ups\r\ncontent-length: 0\r\n\r\n",
    ),
    traced("error", answer="HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n", shows='"error": "true"'),
    traced("refused-upstream", upstreams={"up": Upstream(mode="refuse")}),
    traced(
        "attempts",
        options="spawn_upstream_span: true",
        answer="HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n",
        shows="retry.count",
        flat_upstream=True,
    ),
    traced("attempt", options="spawn_upstream_span: true"),
    traced("attempt-by-router", router="start_child_span: true"),
    traced("long-path", get("/" + "x" * 50), options="max_path_tag_length: 20"),
    traced("post", get("/p", method="POST", body="hello")),
    traced(
        "grpc",
        get("/p.S/M", "content-type: application/grpc", "grpc-timeout: 5S", method="POST"),
        answer="HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 7\r\ngrpc-message: no\r\ncontent-length: 0\r\n\r\n",
    ),
    traced("none-sampled", options="random_sampling: {value: 0}", collected=False, shows="not_traceable: 1"),
    traced("overall-none", options="overall_sampling: {value: 0}", collected=False),
    traced(
        "forced-by-nobody",
        get("/", "x-envoy-force-trace: true"),
        options="random_sampling: {value: 0}",
        collected=False,
    ),
    traced(
        "forced",
        get("/", "x-envoy-force-trace: true", "x-forwarded-for: 10.0.0.1"),
        options="random_sampling: {value: 0}",
        hcm="\ninternal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}",
        shows="service_forced: 1",
    ),
    traced(
        "by-client", get("/", "x-client-trace-id: c1"), options="random_sampling: {value: 0}", shows="client_enabled: 1"
    ),
    traced(
        "by-client-not-allowed",
        get("/", "x-client-trace-id: c1"),
        options="client_sampling: {value: 0}\nrandom_sampling: {value: 0}",
        collected=False,
    ),
    traced("id-sampled-before", get("/", ID % "9"), options="random_sampling: {value: 0}"),
    traced("id-not-sampled-before", get("/", ID % "4"), options="random_sampling: {value: 0}", collected=False),
    traced("id-decides", get("/", ID % "4"), options="random_sampling: {value: 50}", collected=False),
    traced("id-foreign", get("/", "x-request-id: abc"), collected=False),
    traced("edge-replaces-id", get("/", ID % "9"), options="random_sampling: {value: 0}", hcm=EDGE, collected=False),
    traced(
        "edge-keeps-id",
        get("/", ID % "9"),
        options="random_sampling: {value: 0}",
        hcm=EDGE + "\npreserve_external_request_id: true",
        collected=False,
    ),
    traced(
        "without-packing",
        options="random_sampling: {value: 100}",
        hcm="\nrequest_id_extension: {typed_config: {'@type': UuidRequestIdConfig, pack_trace_reason: false}}",
    ),
    traced(
        "id-not-asked",
        get("/", ID % "4"),
        options="random_sampling: {value: 0}",
        hcm="\nrequest_id_extension: {typed_config: {'@type': UuidRequestIdConfig, use_request_id_for_trace_sampling: false}}",
    ),
    traced(
        "of-route",
        route="tracing: {random_sampling: {numerator: 0}, custom_tags: [{tag: a, literal: {value: b}}]}",
        collected=False,
    ),
    traced(
        "of-route-tags",
        options="custom_tags: [{tag: a, literal: {value: outer}}, {tag: z, literal: {value: z}}]",
        route="tracing: {custom_tags: [{tag: a, literal: {value: inner}}]}",
    ),
    traced(
        "collector-refuses",
        upstreams={"up2": Upstream((("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n",),), view=spans)},
        shows="reports_dropped: 1",
    ),
    traced("collector-gone", upstreams={"up2": Upstream(mode="refuse")}, collected=False),
    Case(
        "trace-without-provider",
        get(),
        hcm="tracing: {}",
        listener="traffic_direction: OUTBOUND",
        routes="- {match: {prefix: /}, route: {cluster: $up}, decorator: {operation: op}}",
        stats=r"http\.$case\.tracing",
    ),
    mirrored("mirror", Upstream()),
    mirrored("mirror-unsampled", Upstream(), ", trace_sampled: false", given="1"),
    mirrored("mirror-sampled", Upstream(), ", trace_sampled: true", given="0"),
    mirrored("mirror-reset", Upstream(((Act.RESET,),))),
    Case("trace-refused-cluster", refused=True, hcm="tracing:\n" + PROVIDER.replace("$up2", "none")),
]
