"""Which host a request reaches: subsets by metadata, weights of localities under a hash, hosts that are ill."""

from __future__ import annotations

from typing import Any

from ..case import OK, Case, Upstream, get

TWO = {"up": Upstream(), "up2": Upstream(((OK,),))}
ENDPOINT = "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $%s_port}}}, metadata: {filter_metadata: {envoy.lb: {%s}}}%s}"  # fmt: skip


def host(name: str, metadata: str, more: str = "") -> str:
    return ENDPOINT % (name, metadata, more)


def group(*hosts: str, more: str = "") -> str:
    return f"{{{more}lb_endpoints: [{', '.join(hosts)}]}}"


def balanced(
    name: str, options: str, route: str = "", groups: str = "", send: tuple[Any, ...] = (), **more: Any
) -> Case:
    routes = f"- match: {{prefix: /}}\n  route: {{cluster: $case.many, {route}}}\n"
    endpoints = groups or group(host("up", "stage: one, version: a"), host("up2", "stage: two, version: a"))
    clusters = (
        f"- {{name: $case.many, type: STATIC, {options}, load_assignment: {{cluster_name: $case.many, "
        f"endpoints: [{endpoints}]}}}}"
    )
    more.setdefault("upstreams", TWO)
    more.setdefault("routes", routes)
    return Case(
        f"balance-{name}",
        send or tuple(x for _ in range(4) for x in (get(), 0.1)),
        clusters=clusters,
        timing=False,
        **more,
    )


def match(**wanted: str) -> str:
    fields = ", ".join(f"{key}: {value}" for key, value in wanted.items())
    return f"metadata_match: {{filter_metadata: {{envoy.lb: {{{fields}}}}}}}"


def subsets(name: str, options: str, route: str, **more: Any) -> Case:
    config = f"lb_subset_config: {{subset_selectors: [{{keys: [stage]}}], {options}}}"
    return balanced(
        f"subset-{name}", config, route, stats=r"cluster\.$case\.many\.lb_subsets_(selected|fallback|single)", **more
    )


KEYS = tuple(x for key in "abcdefgh" for x in (get("/", f"x-key: {key}"), 0.05))
BY_KEY = "hash_policy: [{header: {header_name: x-key}}]"
LOCALITIES = ", ".join(
    group(host(name, f"hash_key: {name}"), more=f"locality: {{zone: {name}}}, load_balancing_weight: {weight}, ")
    for name, weight in (("up", 1), ("up2", 5))
)
WEIGHTED = "common_lb_config: {locality_weighted_lb_config: {}}"
TYPED = (
    "load_balancing_policy: {policies: [{typed_extension_config: {name: s, typed_config: {'@type': "
    "type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset, subset_selectors: [{keys: [stage]}], "
    "subset_lb_policy: {policies: [{typed_extension_config: {name: r, typed_config: {'@type': "
    "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin}}}]}}}}]}"
)
STATE = (
    "- {name: s, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config, "
    "on_request_headers: [{object_key: k, factory_key: %s, format_string: {text_format_source: "
    "{inline_string: '%%REQ(x-key)%%'}}}]}}"
)
KEYED = group(host("up", "hash_key: one"), host("up2", "hash_key: two"))

_POLICIES = "type.googleapis.com/envoy.extensions.load_balancing_policies"


def policy(kind: str, more: str = "") -> str:
    return (
        f"{{policies: [{{typed_extension_config: {{name: p, typed_config: {{'@type': {_POLICIES}.{kind}{more}}}}}}}]}}"
    )


def override(sources: str) -> str:
    more = f", override_host_sources: [{sources}], fallback_policy: {policy('random.v3.Random')}"
    return f"load_balancing_policy: {policy('override_host.v3.OverrideHost', more)}"


OVERRIDE = override("{header: X-To}, {metadata: {key: where, path: [{key: to}]}}")
TO_METADATA = (
    "- {name: m, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, "
    "request_rules: [{header: x-note, on_header_present: {metadata_namespace: where, key: to}}]}}"
)

CASES = [
    *(
        balanced(
            f"{name}-smaller-than-its-hosts",
            options,
            BY_KEY,
            KEYED,
            send=KEYS,
            stats=r"^cluster\.$case\.many\.\w+\.(size|min|max)",
        )
        for name, options in (
            ("ring-hash", "lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 1, maximum_ring_size: 1}"),
            ("maglev", "lb_policy: MAGLEV, maglev_lb_config: {table_size: 2}"),
        )
    ),
    balanced(
        "named-by-header",
        OVERRIDE,
        send=(
            *(x for _ in range(3) for x in (get("/", "x-to: 127.0.0.1:$up2_port"), 0.05)),
            get("/", "x-to: 10.1.2.3:4, 127.0.0.1:$up_port"),
        ),
        masks=((r"x-to: .*", "x-to"),),
        shows="200",
    ),
    balanced(
        "named-by-metadata",
        OVERRIDE,
        filters=TO_METADATA,
        send=(get("/", "x-note: 127.0.0.1:$up2_port"),),
        masks=((r"x-note: .*", "x-note"),),
    ),
    balanced(
        "named-one-after-the-other",
        OVERRIDE,
        "retry_policy: {retry_on: connect-failure, num_retries: 1}",
        send=(get("/", "x-to: 127.0.0.1:$up_port,127.0.0.1:$up2_port"),),
        upstreams={"up": Upstream(mode="refuse"), "up2": Upstream()},
        masks=((r"rq-timeout-ms: \d+", "rq-timeout-ms: <ms>"), (r"x-to: .*", "x-to")),
        shows="200",
    ),
    balanced(
        "named-ill",
        OVERRIDE,
        send=(get("/", "x-to: 127.0.0.1:$up_port"),),
        groups=group(host("up", "a: b", ", health_status: UNHEALTHY"), host("up2", "a: b")),
        masks=((r"x-to: .*", "x-to"),),
        shows="200",
    ),
    Case("balance-named-nowhere", refused=True, cluster=override("{}")),
    balanced(
        "full-scan",
        "load_balancing_policy: " + policy("least_request.v3.LeastRequest", ", selection_method: FULL_SCAN"),
        groups=group(host("up", "a: b")),
    ),
    subsets("one", "", match(stage="one"), shows="lb_subsets_selected: 4"),
    subsets("two", "", match(stage="two")),
    subsets("none-without-fallback", "", match(stage="three"), shows="rf=UH"),
    subsets("nothing-asked", "", "timeout: 5s", shows="rf=UH"),
    subsets("other-key", "fallback_policy: NO_FALLBACK", match(version="a"), shows="rf=UH"),
    subsets("redundant-key", "", match(stage="one", version="a"), shows="rf=UH"),
    subsets("any", "fallback_policy: ANY_ENDPOINT", match(stage="three"), merge_upstreams=True, compare_log=False),
    subsets(
        "default",
        "fallback_policy: DEFAULT_SUBSET, default_subset: {stage: two}",
        match(stage="three"),
        shows="fallback: 4",
    ),
    subsets(
        "panic-any",
        "fallback_policy: DEFAULT_SUBSET, default_subset: {stage: x}, panic_mode_any: true",
        match(stage="three"),
        merge_upstreams=True,
        compare_log=False,
    ),
    subsets(
        "alternatives", "metadata_fallback_policy: FALLBACK_LIST", match(fallback_list="[{stage: three}, {stage: two}]")
    ),
    balanced(
        "subset-own-fallback",
        "lb_subset_config: {subset_selectors: [{keys: [stage], fallback_policy: NO_FALLBACK}], fallback_policy: ANY_ENDPOINT}",
        match(stage="three"),
        shows="rf=UH",
    ),
    balanced(
        "subset-fewer-keys",
        "lb_subset_config: {subset_selectors: [{keys: [stage]}, {keys: [stage, version], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [stage]}]}",
        match(stage="two", version="z"),
        shows="200",
    ),
    balanced(
        "subset-single-host",
        "lb_subset_config: {subset_selectors: [{keys: [stage], single_host_per_subset: true}]}",
        match(stage="one"),
    ),
    balanced(
        "subset-list-as-any",
        "lb_subset_config: {subset_selectors: [{keys: [stage]}], list_as_any: true}",
        match(stage="b"),
        groups=group(host("up", "stage: [a, b]"), host("up2", "stage: [a, c]")),
    ),
    balanced(
        "subset-numbers-and-truth",
        "lb_subset_config: {subset_selectors: [{keys: [stage]}]}",
        match(stage="1"),
        groups=group(host("up", "stage: '1'"), host("up2", "stage: 1.0")),
    ),
    balanced("subset-typed", TYPED, match(stage="two"), shows="200"),
    balanced(
        "subset-of-weighted-cluster",
        "lb_subset_config: {subset_selectors: [{keys: [stage]}, {keys: [stage, version]}]}",
        routes=f"""
- match: {{prefix: /}}
  route:
    weighted_clusters: {{clusters: [{{name: $case.many, weight: 1, {match(stage="two")}}}]}}
    {match(stage="one", version="a")}
""",
    ),
    balanced(
        "subset-of-the-request",
        "lb_subset_config: {subset_selectors: [{keys: [stage]}]}",
        match(stage="one"),
        filters="- {name: m, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: [{header: x-stage, on_header_present: {metadata_namespace: envoy.lb, key: stage}}]}}",
        send=(get("/", "x-stage: two"), 0.1, get(), 0.1, get("/", "x-stage: two")),
    ),
    Case(
        "balance-subset-refused",
        refused=True,
        cluster="lb_subset_config: {subset_selectors: [{keys: [a], fallback_policy: KEYS_SUBSET}]}",
    ),
    balanced("ring-hash-by-localities", f"lb_policy: RING_HASH, {WEIGHTED}", BY_KEY, LOCALITIES, KEYS),
    balanced("maglev-by-localities", f"lb_policy: MAGLEV, {WEIGHTED}", BY_KEY, LOCALITIES, KEYS),
    balanced(
        "hash-rewritten",
        "lb_policy: RING_HASH",
        "hash_policy: [{header: {header_name: x-key, regex_rewrite: {pattern: {regex: '^[a-d]'}, substitution: q}}}]",
        KEYED,
        KEYS,
    ),
    balanced(
        "hash-of-filter-state",
        "lb_policy: RING_HASH",
        "hash_policy: [{filter_state: {key: k}}]",
        KEYED,
        KEYS,
        filters=STATE % "envoy.hashable_string",
    ),
    balanced(
        "slow-start",
        "round_robin_lb_config: {slow_start_config: {slow_start_window: 1s}}",
        groups=group(host("up", "a: b")),
    ),
    balanced(
        "slow-start-least-request",
        "lb_policy: LEAST_REQUEST, least_request_lb_config: {slow_start_config: {slow_start_window: 1s, aggression: {default_value: 2.0, runtime_key: a}, min_weight_percent: {value: 5}}}",
        groups=group(host("up", "a: b")),
    ),
    *(
        balanced(
            f"health-{status.lower()}",
            "connect_timeout: 1s",
            groups=group(host("up", "a: b", f", health_status: {status}"), host("up2", "a: b")),
            compare_log=status != "HEALTHY",
            merge_upstreams=status == "HEALTHY",
        )
        for status in ("HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT")
    ),
    balanced(
        "health-degraded",
        "connect_timeout: 1s",
        groups=group(host("up", "a: b", ", health_status: DEGRADED"), *(host("up2", "a: b"),) * 3),
        merge_upstreams=True,
    ),
    *(
        Case(
            f"balance-tcp-{name}",
            (get(), 0.2),
            network=f"- tcp_proxy: {{cluster: $case.many, {proxy}}}",
            clusters=(
                f"- {{name: $case.many, type: STATIC, {options}, load_assignment: {{cluster_name: $case.many, "
                f"endpoints: [{group(host('up', 'stage: one, hash_key: one'), host('up2', 'stage: two, hash_key: two'))}]}}}}"
            ),
            upstreams=TWO,
            timing=False,
        )
        for name, proxy, options in (
            ("by-source", "hash_policy: [{source_ip: {}}]", "lb_policy: MAGLEV"),
            ("subset", match(stage="two"), "lb_subset_config: {subset_selectors: [{keys: [stage]}]}"),
            ("no-subset", match(stage="three"), "lb_subset_config: {subset_selectors: [{keys: [stage]}]}"),
        )
    ),
    Case(
        "balance-tcp-subset-of-weighted",
        (get(), 0.2),
        network="- tcp_proxy: {weighted_clusters: {clusters: [{name: $case.many, weight: 1, "
        + match(version="b")
        + "}]}, "
        + match(stage="two")
        + "}",
        clusters="- {name: $case.many, type: STATIC, lb_subset_config: {subset_selectors: [{keys: [stage, version]}]}, "
        "load_assignment: {cluster_name: $case.many, endpoints: ["
        + group(host("up", "stage: two, version: a"), host("up2", "stage: two, version: b"))
        + "]}}",
        upstreams=TWO,
        timing=False,
    ),
]
