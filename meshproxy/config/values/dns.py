"""How the clusters of type STRICT_DNS and LOGICAL_DNS resolve names (envoy.config.cluster.v3.Cluster,
envoy.extensions.network.dns_resolver), and the newer way to write them down (envoy.extensions.clusters.dns)."""

from __future__ import annotations

from dataclasses import replace

from meshproxy.config.values.addresses import compile_socket_address
from meshproxy.errors import ConfigError
from meshproxy.model.dns import DnsOptions, DnsResolverOptions
from meshproxy.plugin.view import ConfigView

DNS_TYPES = ("STRICT_DNS", "LOGICAL_DNS")
DNS_CLUSTER = "envoy.extensions.clusters.dns.v3.DnsCluster"
_CARES = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
_GETADDRINFO = "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"


def compile_dns(view: ConfigView, kind: str, default: DnsResolverOptions) -> DnsOptions:
    """The DNS options of a `Cluster` of this type. default: the resolver of the bootstrap. Raises ConfigError."""
    servers = tuple(_server(entry) for entry in view.views("dns_resolvers"))
    use_tcp = view.boolean("use_tcp_for_dns_lookups")
    if servers or use_tcp:  # the oldest way to say so, which the others go before
        default = DnsResolverOptions(servers, use_tcp)
    failure = view.view("dns_failure_refresh_rate")
    if kind not in DNS_TYPES and failure is not None:
        failure.raw()  # has no effect
        failure = None
    return _compile_options(view, failure, view.view("dns_resolution_config"), default)


def compile_cache_dns(view: ConfigView, default: DnsResolverOptions) -> DnsOptions:
    """The DNS options of a `DnsCacheConfig`; a TTL always counts. default: see above. Raises ConfigError."""
    if view.boolean("use_tcp_for_dns_lookups"):
        default = replace(default, use_tcp=True)
    base, maximum = _compile_backoff(view.view("dns_failure_refresh_rate"))
    return DnsOptions(
        refresh_rate=view.seconds("dns_refresh_rate", 60.0),
        respect_ttl=True,
        lookup_family=_family(view),
        failure_base=base,
        failure_max=maximum,
        resolver=_compile_resolver(view, view.view("dns_resolution_config"), default),
    )


def compile_dns_cluster(view: ConfigView, default: DnsResolverOptions) -> tuple[str, DnsOptions]:
    """The type of `Cluster` that a `DnsCluster` is, and its options. default: see above. Raises ConfigError."""
    kind = "LOGICAL_DNS" if view.boolean("all_addresses_in_single_endpoint") else "STRICT_DNS"
    return kind, _compile_options(view, view.view("dns_failure_refresh_rate"), None, default)


def _compile_options(
    view: ConfigView, failure: ConfigView | None, older_resolver: ConfigView | None, default: DnsResolverOptions
) -> DnsOptions:
    """The fields that `Cluster` and `DnsCluster` have in common."""
    base, maximum = _compile_backoff(failure)
    return DnsOptions(
        refresh_rate=view.seconds("dns_refresh_rate", 5.0),
        respect_ttl=view.boolean("respect_dns_ttl"),
        lookup_family=_family(view),
        jitter=view.seconds("dns_jitter", 0.0),
        failure_base=base,
        failure_max=maximum,
        resolver=_compile_resolver(view, older_resolver, default),
    )


def _family(view: ConfigView) -> str:
    family = view.enum("dns_lookup_family")
    return "AUTO" if family == "UNSPECIFIED" else family


def _compile_backoff(failure: ConfigView | None) -> tuple[float | None, float | None]:
    """Base and maximum of `dns_failure_refresh_rate`, in seconds."""
    if failure is None:
        return None, None
    base = failure.duration("base_interval")
    maximum = failure.duration("max_interval")
    if base is not None and maximum is None:
        maximum = base * 10
    if base is not None and maximum is not None and maximum < base:
        failure.fail("dns_failure_refresh_rate must have base_interval less than max_interval", "max_interval")
    return base, maximum


def _compile_resolver(view: ConfigView, older: ConfigView | None, default: DnsResolverOptions) -> DnsResolverOptions:
    """The newer field wins over the older one, as in Envoy."""
    extension = view.view("typed_dns_resolver_config")
    if extension is None:
        return compile_older_resolver(older) if older is not None else default
    if older is not None:
        older.raw()
    return compile_typed_resolver(extension)


def compile_typed_resolver(extension: ConfigView) -> DnsResolverOptions:
    """`typed_dns_resolver_config`. Raises ConfigError."""
    typed = extension.any("typed_config")
    if typed is None or typed.view is None or typed.full_name not in (_CARES, _GETADDRINFO):
        extension.fail(f"the only resolvers are {_CARES} and {_GETADDRINFO}", "typed_config")
    if typed.full_name == _GETADDRINFO:
        return DnsResolverOptions(tries=1 + typed.view.integer("num_retries", 3))
    return _compile_cares(typed.view)


def _compile_cares(view: ConfigView) -> DnsResolverOptions:
    options = compile_older_resolver(view)
    if problems := view.unsupported("filter_unroutable_families"):
        raise ConfigError(problems)
    return DnsResolverOptions(
        servers=options.servers,
        use_tcp=options.use_tcp,
        search=options.search,
        timeout=float(view.integer("query_timeout_seconds", 5)),
        tries=view.integer("query_tries", 4),
        rotate=view.boolean("rotate_nameservers"),
        fallback=view.boolean("use_resolvers_as_fallback"),
    )


def compile_older_resolver(view: ConfigView) -> DnsResolverOptions:
    """`dns_resolution_config`, and what the newer one has in common with it. Raises ConfigError."""
    servers = [_server(entry) for entry in view.views("resolvers")]
    options = view.view("dns_resolver_options")
    return DnsResolverOptions(
        servers=tuple(servers),
        use_tcp=options.boolean("use_tcp_for_dns_lookups") if options is not None else False,
        search=not options.boolean("no_default_search_domain") if options is not None else True,
    )


def _server(view: ConfigView) -> tuple[str, int]:
    address = compile_socket_address(view.required("socket_address"))
    return address.ip, address.port or 53
