"""Routing by zone: a proxy in zone a, the local cluster in zones a and b, and clusters of all kinds.

Each case needs a bootstrap of its own, so one of them sends requests to many clusters. The plans are such that chance has
no say in where a request goes.
"""

from __future__ import annotations

from typing import Any

from ..case import OK, Case, Upstream, get

NODE = "node: {id: n, cluster: n, locality: {zone: a}}\ncluster_manager: {local_cluster_name: $case.local}\n"
_EXT = "type.googleapis.com/envoy.extensions.load_balancing_policies"


def group(zone: str, name: str, count: int = 1, more: str = "") -> str:
    address = f"{{socket_address: {{address: 127.0.0.1, port_value: ${name}_port}}}}"
    host = f"{{endpoint: {{address: {address}}}{more}}}"
    return f"{{locality: {{zone: {zone}}}, lb_endpoints: [{', '.join([host] * count)}]}}"


def cluster(name: str, options: str, *groups: str) -> str:
    return (
        f"- {{name: $case.{name}, type: STATIC, {options} load_assignment: {{cluster_name: c, "
        f"endpoints: [{', '.join(groups)}]}}}}\n"
    )


def routes(*names: str) -> str:
    return "".join(f"- match: {{prefix: /{name}}}\n  route: {{cluster: $case.{name}}}\n" for name in names)


def zoned(more: str = "min_cluster_size: 1") -> str:
    return f"common_lb_config: {{zone_aware_lb_config: {{{more}}}}},"


def typed(policy: str, more: str) -> str:
    return (
        f"load_balancing_policy: {{policies: [{{typed_extension_config: {{name: p, typed_config: {{'@type': {_EXT}.{policy}, "
        f"locality_lb_config: {{zone_aware_lb_config: {{{more}}}}}}}}}}}]}},"
    )


A, B = group("a", "up"), group("b", "up2")
LOCAL = cluster("local", "", group("a", "up"), group("b", "up"))
ILL = ", health_status: UNHEALTHY"
CLUSTERS = {
    "direct": (zoned(), A, B),
    "least": (zoned() + "lb_policy: LEAST_REQUEST,", A, B),
    "random": (zoned() + "lb_policy: RANDOM,", A, B),
    "elsewhere": (zoned(), group("b", "up"), group("c", "up2")),
    "small": (zoned("min_cluster_size: 3"), A, group("b", "up")),
    "default": ("", A, group("b", "up", 5)),
    "off": (zoned("min_cluster_size: 1, routing_enabled: {value: 0}"), A, group("b", "up")),
    "one-zone": (zoned(), group("a", "up", 2)),
    "typed": (typed("round_robin.v3.RoundRobin", "min_cluster_size: 1"), A, B),
    "forced": (
        typed("random.v3.Random", "min_cluster_size: 1, force_local_zone: {min_size: 1}"),
        A,
        group("b", "up2", 9),
    ),
    "not-forced": (
        typed("random.v3.Random", "min_cluster_size: 9, force_local_zone: {min_size: 2}"),
        A,
        group("b", "up"),
    ),
    "by-weight": (
        typed("least_request.v3.LeastRequest", "min_cluster_size: 1, locality_basis: HEALTHY_HOSTS_WEIGHT"),
        group("a", "up", 1, ", load_balancing_weight: 10"),
        group("b", "up2", 9),
    ),
    "weighted": ("common_lb_config: {locality_weighted_lb_config: {}},", A, group("b", "up")),
}
# Where the default cluster's requests go, chance decides.
COUNTED = r"cluster\.$case\.[a-z-]+\.lb_zone_(routing_all_directly|no_capacity_left)|(?<!default)\.lb_zone_routing_\w+"


def case(name: str, clusters: dict[str, tuple[str, ...]], local: str, **options: Any) -> Case:
    return Case(
        f"zones-{name}",
        tuple(x for each in clusters for _ in range(3) for x in (get(f"/{each}"), 0.05)),
        alone=True,
        bootstrap=NODE,
        routes=routes(*clusters),
        clusters=local + "".join(cluster(each, *what) for each, what in clusters.items()),
        upstreams={"up": Upstream(), "up2": Upstream(((OK,),))},
        stats=COUNTED,
        flat_upstream=True,
        timing=False,
        **options,
    )


CASES = [
    case("plans", CLUSTERS, LOCAL, shows="direct.lb_zone_routing_all_directly: 3"),
    case(
        "local-cluster-in-panic",
        {
            "fails": (zoned("min_cluster_size: 1, fail_traffic_on_panic: true"), A, group("b", "up")),
            "goes": (zoned(), A, group("b", "up")),
        },
        cluster("local", "", group("a", "up", 1, ILL), group("b", "up", 1, ILL)),
        shows="rf=UH",
    ),
    Case(
        "zones-refused-with-policy",
        refused=True,
        cluster=zoned()[:-1] + "\n" + typed("round_robin.v3.RoundRobin", "")[:-1],
    ),
    Case("zones-refused-local", refused=True, bootstrap="cluster_manager: {local_cluster_name: nobody}"),
]
