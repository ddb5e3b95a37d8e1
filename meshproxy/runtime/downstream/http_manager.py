"""What all connections of one HTTP connection manager share: routes, plans, the edge, statistics; compiled once.

Routes may be replaced while requests are under way (`use_routes`). A request that has its route keeps it, and the plan
that goes with it; nothing here is looked up by a route after that, except whether it changes requests, and of a route
that isn't known any more that is taken for granted (`unchanging_routes`).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from meshproxy.chain.http_plan import HttpPlan, plan_filters
from meshproxy.model.http import HttpConnectionManagerConfig
from meshproxy.model.route import ForwardAction, Route, RouteTable, WeightedCluster
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stats import StatsScope
from meshproxy.routing.finalize import changes_request
from meshproxy.routing.table import MeasuredRoutes, RouteIndex
from meshproxy.runtime.downstream.http_client_certificate import client_certificate_header
from meshproxy.runtime.downstream.http_edge import RequestEdge
from meshproxy.runtime.downstream.http_head_limit import head_limit
from meshproxy.runtime.downstream.http_stats import HttpStats
from meshproxy.runtime.downstream.route_stats import RouteStats
from meshproxy.runtime.node_address import node_ip
from meshproxy.telemetry.request_id import id_source

if TYPE_CHECKING:
    from meshproxy.runtime.downstream.http_tracing import HttpTracing
    from meshproxy.runtime.worker import Worker


class HttpManager:
    """The compiled connection manager."""

    def __init__(self, config: HttpConnectionManagerConfig, context: FactoryContext) -> None:
        self.config = config
        self.rng: random.Random = context.rng
        self.stats = HttpStats(context.stats, config.stat_prefix)
        context.stats.before_read(self.stats.fold)
        self._all_stats = context.stats
        self._route_scope: StatsScope | None = None
        self.early_changes = config.early_changes
        self.edge = RequestEdge(config, context.node, node_ip())
        self.client_certificate = client_certificate_header(
            config.forward_client_cert_details, config.set_current_client_cert_details
        )
        self.tracing: HttpTracing | None = None
        self._stats_scope = context.stats.scope(f"http.{config.stat_prefix}.")
        self.new_request_id = id_source(context.rng.getrandbits)
        self.filters = config.http_filters
        if config.sheds_load:
            from meshproxy.runtime.overload import shed_filter  # few need it

            self.filters = (shed_filter(context), *config.http_filters)
        self._plan_filters()
        # Seconds after which a new connection is first looked at for idleness; 0: never.
        self.look_after = min((t for t in (config.idle_timeout, config.stream_idle_timeout) if t), default=0.0)
        self.head_limit = head_limit(config, self.stats)
        self.max_requests = config.max_requests_per_connection
        self.limits_requests = bool(self.max_requests) or config.http1_safe_max_connection_duration
        self.replaces_ids = config.use_remote_address and not config.preserve_external_request_id
        # Why a request is traced isn't for those outside to say.
        self.resets_trace_reason = (
            config.use_remote_address and config.preserve_external_request_id and config.packs_trace_reason
        )
        # Whether a stream has something to do before its filters: see `StreamTimers.arm`.
        self.stream_timers = bool(
            config.max_stream_duration
            or config.request_timeout
            or (config.access_logs and (config.log_new_requests or config.log_interval))
        )
        self.use_routes(config.routes.table)
        config.routes.attach(self)
        for spec in (*config.http_filters, *(spec for each in config.upgrades.values() for spec in each.filters or ())):
            if spec.slot is not None:
                spec.slot.attach(self)

    def _plan_filters(self) -> None:
        config = self.config
        self.default_plan = plan_filters(self.filters, {})
        self._upgrade_plans = {
            name: plan_filters((*self.filters[: len(self.filters) - len(config.http_filters)], *upgrade.filters), {})
            for name, upgrade in config.upgrades.items()
            if upgrade.filters is not None
        }

    def use_filters(self) -> None:
        """Discovery has changed a filter: the requests that come from now on meet it."""
        self._plan_filters()
        self.use_routes(self.config.routes.table)

    def use_routes(self, table: RouteTable) -> None:
        """Take over a route table for the requests that come from now on."""
        before, self._route_scope = self._route_scope, self._all_stats.scope("")
        scope = self._route_scope
        self.edge.use_routes(table)
        self.routes = MeasuredRoutes(table) if self.config.measures_routes else RouteIndex(table)
        self.requires_tls = self.routes.has_tls_requirement
        self.timed_routes: set[Route] = set()
        self.unchanging_routes: set[Route] = set()
        self._plans: dict[Route | WeightedCluster, HttpPlan] = {}
        for virtual_host in table.virtual_hosts:
            for part in virtual_host.virtual_clusters:
                name = part.name or "other"
                RouteStats(scope.scope(f"vhost.{virtual_host.name}.vcluster.{name}."), part.counts)
            for route in virtual_host.routes:
                self._plan_route(route)
                self._note_timers(route)
                for counts in route.counts:
                    RouteStats(scope.scope(f"vhost.{route.virtual_host}.route.{route.stat_prefix}."), counts)
                if not changes_request(route):
                    self.unchanging_routes.add(route)
        self.plans_differ = bool(self._plans or self._upgrade_plans)
        if before is not None:
            before.close()  # after the new one has taken hold of the statistics that both have

    def trace(self, worker: Worker) -> None:
        """Make what traces the requests, if that is configured; the first connection brings the worker."""
        if self.config.tracing is not None and self.tracing is None:
            from meshproxy.runtime.downstream.http_tracing import HttpTracing

            self.tracing = HttpTracing(self.config.tracing, worker, self._stats_scope, self.rng)

    def attach_to_listener(self, scope: StatsScope) -> None:
        """The listener that the connections come from; `scope` is that of its statistics."""
        self.stats.count_for_listener(scope.scope(f"http.{self.config.stat_prefix}."))

    def _note_timers(self, route: Route) -> None:
        action = route.action
        if isinstance(action, ForwardAction) and (
            action.idle_timeout is not None
            or action.max_stream_duration is not None
            or action.grpc_timeout_header_max is not None
        ):
            self.timed_routes.add(route)

    def _plan_route(self, route: Route) -> None:
        if route.per_filter_config:
            self._plans[route] = plan_filters(self.filters, route.per_filter_config)
        if isinstance(route.action, ForwardAction):
            for weighted in route.action.weighted_clusters:
                if weighted.per_filter_config:
                    joined: dict[str, Any] = {**route.per_filter_config, **weighted.per_filter_config}
                    self._plans[weighted] = plan_filters(self.filters, joined)

    def plan(self, route: Route | None, weighted: WeightedCluster | None, upgrade: str) -> HttpPlan:
        """The filters that a request on this route meets."""
        if upgrade and upgrade in self._upgrade_plans:
            return self._upgrade_plans[upgrade]
        plans = self._plans
        if not plans or route is None:
            return self.default_plan
        if weighted is not None and weighted in plans:
            return plans[weighted]
        return plans.get(route, self.default_plan)

    def allows_upgrade(self, route: Route | None, upgrade: str) -> bool:
        """Whether `upgrade` (lower case) may be asked for on this route (`upgrade_configs`; a route's own win)."""
        if route is not None and isinstance(route.action, ForwardAction):
            allowed = route.action.upgrades.get(upgrade)
            if allowed is not None:
                return allowed
        configured = self.config.upgrades.get(upgrade)
        return configured is not None and configured.enabled
