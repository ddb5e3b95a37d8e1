"""Clusters that stand for others, and those that forward to the host that a request names (envoy.extensions.clusters.
aggregate, envoy.extensions.clusters.dynamic_forward_proxy, envoy.extensions.common.dynamic_forward_proxy)."""

from __future__ import annotations

from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.dns import compile_cache_dns
from meshproxy.errors import ConfigError
from meshproxy.model.forwarding import DnsCacheOptions, ForwardOptions, SubClusterOptions
from meshproxy.plugin.view import ConfigView

AGGREGATE = "envoy.extensions.clusters.aggregate.v3.ClusterConfig"
FORWARD = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
_KEPT_POLICIES = ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV")


def compile_aggregate(view: ConfigView) -> tuple[str, ...]:
    """The names of the clusters, in the order of their priority."""
    return tuple(view.texts("clusters"))


def compile_forward(view: ConfigView, context: CompileContext) -> ForwardOptions:
    """Raises ConfigError."""
    sub = view.view("sub_clusters_config")
    if sub is None:
        return ForwardOptions(cache=compile_dns_cache(view.required("dns_cache_config"), context))
    policy = sub.enum("lb_policy")
    if policy not in _KEPT_POLICIES:
        sub.fail(f"{policy} isn't supported for sub clusters", "lb_policy")
    if sub.views("preresolve_clusters"):
        sub.fail("'preresolve_clusters' isn't supported by meshproxy", "preresolve_clusters")
    return ForwardOptions(
        sub_clusters=SubClusterOptions(
            policy, sub.integer("max_sub_clusters", 1024), sub.seconds("sub_cluster_ttl", 300.0)
        )
    )


def compile_dns_cache(view: ConfigView, context: CompileContext) -> DnsCacheOptions:
    """A `DnsCacheConfig`. Two of one name must say the same. Raises ConfigError."""
    if problems := view.unsupported("key_value_config"):
        raise ConfigError(problems)
    breaker = view.view("dns_cache_circuit_breaker")
    options = DnsCacheOptions(
        name=view.text("name"),
        dns=compile_cache_dns(view, context.dns_resolver),
        min_refresh=view.seconds("dns_min_refresh_rate", 5.0),
        host_ttl=view.seconds("host_ttl", 300.0),
        max_hosts=view.integer("max_hosts", 1024),
        max_pending_requests=breaker.integer("max_pending_requests", 1024) if breaker is not None else 1024,
        query_timeout=view.seconds("dns_query_timeout", 5.0),
        refresh_after_failure=not view.boolean("disable_dns_refresh_on_failure"),
        preresolve=tuple(_preresolved(entry) for entry in view.views("preresolve_hostnames")),
    )
    known = context.shared_objects.setdefault(("dns_cache", options.name), options)
    if known != options:
        view.fail(f"config specified DNS cache '{options.name}' with different settings")
    return options


def _preresolved(view: ConfigView) -> tuple[str, int]:
    return view.text("address"), view.integer("port_value")
