"""`envoy.filters.http.dynamic_forward_proxy`: lets a request wait until the address of the host it names is known.

It does so only for routes to a cluster of the type of the same name, which then finds the host in the same DNS cache. A
route may put another host in the request's place. A host that is known already costs a look-up and no wait.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from meshproxy.headers import RequestHeaders
from meshproxy.model.forwarding import DnsCacheOptions
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HeadersResult, HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.upstream import DYNAMIC_HOST
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_EMPTY_HOST = LocalReply(400, b"Empty host header", details="empty_host_header")


@dataclass(frozen=True, slots=True)
class ForwardConfig:
    """cache: None where the cluster makes clusters of its own, for which a request waits `init_timeout` seconds.

    from_filter_state: take the host from the filter state where it is there. rewrite, rewrite_header: of a route, the
    host to put in the place of the request's, or the field it stands in; "" for none.
    """

    cache: DnsCacheOptions | None = None
    init_timeout: float = 5.0
    from_filter_state: bool = False
    rewrite: str = ""
    rewrite_header: str = ""


class DynamicForwardProxy(HttpFilter[ForwardConfig]):
    """See the module."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> ForwardConfig:
        if view.boolean("save_upstream_address"):
            view.fail("it isn't supported by meshproxy", "save_upstream_address")
        from_state = view.boolean("allow_dynamic_host_from_filter_state")
        if view.which("implementation_specifier") == "sub_cluster_config":
            timeout = view.required("sub_cluster_config").seconds("cluster_init_timeout", 5.0)
            return ForwardConfig(init_timeout=timeout, from_filter_state=from_state)
        cache = context.compile_dns_cache(view.required("dns_cache_config"))
        return ForwardConfig(cache, from_filter_state=from_state)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> ForwardConfig:
        """`PerRouteConfig`."""
        return ForwardConfig(
            rewrite=view.text("host_rewrite_literal"), rewrite_header=view.text("host_rewrite_header").lower()
        )

    @classmethod
    def merge_route(cls, base: ForwardConfig, route: ForwardConfig) -> ForwardConfig:
        return replace(base, rewrite=route.rewrite, rewrite_header=route.rewrite_header)

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> HeadersResult:
        cluster = stream.clusters.get(stream.cluster_name)
        forwarding = cluster.forwarding if cluster is not None else None
        if forwarding is None:
            return None
        config = self.config
        if config.rewrite:
            request.authority = config.rewrite
        elif config.rewrite_header and (given := request.get(config.rewrite_header)):
            request.authority = given
        host = request.authority
        if config.from_filter_state and stream.filter_state and DYNAMIC_HOST in stream.filter_state:
            host = str(stream.filter_state[DYNAMIC_HOST])
        if forwarding.own_clusters:
            return forwarding.prepare_cluster(host, config.init_timeout)
        if not host:
            return _EMPTY_HOST
        if config.cache is None:
            return None  # the cluster has a cache that nobody fills: it will have no such host
        return stream.clusters.name_cache(config.cache).prepare(host, forwarding.default_port)
