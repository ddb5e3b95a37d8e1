"""Route tables (envoy.config.route.v3.RouteConfiguration): what stands at each level is joined into every route.

Header changes keep one level each, because each level reads what the one before it left: the route's own first, then
the virtual host's, then the table's, or the other way round with `most_specific_header_mutations_wins`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from meshproxy.config.http.filters import compile_filter_level, compile_older_cors, merge_levels
from meshproxy.config.http.header_mutations import compile_level
from meshproxy.config.http.mirrors import compile_mirrors
from meshproxy.config.http.rate_limits import compile_rate_limits
from meshproxy.config.http.retries import compile_hedging, compile_retry_policy, of_request
from meshproxy.config.http.route_action import Surroundings, compile_action
from meshproxy.config.http.route_match import compile_conditions, compile_path_match
from meshproxy.config.matching.matcher_inputs import http_inputs
from meshproxy.config.matching.matcher_tree import Match, compile_matcher
from meshproxy.config.matching.matchers import compile_header_matcher
from meshproxy.config.reporting.tracing import compile_route_tracing
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.metadata import compile_metadata
from meshproxy.errors import ConfigError
from meshproxy.headers import check_name
from meshproxy.matching import wire_text
from meshproxy.model.listener import FilterSpec
from meshproxy.model.rate_limit import RateLimit
from meshproxy.model.route import (
    HeaderMutations,
    NonForwardingAction,
    PathMatch,
    Route,
    RouteTable,
    VirtualCluster,
    VirtualHost,
)
from meshproxy.model.route_counts import RouteCounts
from meshproxy.plugin.view import ConfigView, TypedView
from meshproxy.steps import Steps, finish

_DEFAULT_MAX_BODY = 4096

_ROUTE = "envoy.config.route.v3.Route"
_ROUTES = "envoy.config.route.v3.RouteList"
_TREE_INPUTS = (
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
    "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
)
"""What the tree of a virtual host may look at, in Envoy too."""

Mutations = tuple[HeaderMutations, ...]

# A virtual host's settings are kept in a route of its own, which each real route is made from.
_NO_PATH = PathMatch("prefix")
_NO_ACTION = NonForwardingAction()


class _TableCompiler:
    """Compiles one table; holds what all its routes share. Problems are noted in the context."""

    def __init__(
        self, view: ConfigView, filters: Sequence[FilterSpec], context: CompileContext, validate_clusters: bool
    ) -> None:
        self.view = view
        self.context = context
        self.name = view.text("name")
        self.specific_wins = view.boolean("most_specific_header_mutations_wins")
        self.request = compile_level(view, "request", context)
        self.response = compile_level(view, "response", context)
        by_name = {spec.name: spec for spec in filters}
        self.around = Surroundings(
            context,
            by_name,
            levels=(compile_filter_level(view, by_name, context),),
            max_direct_response_body=view.integer("max_direct_response_body_size_bytes", _DEFAULT_MAX_BODY),
            validate_clusters=view.boolean("validate_clusters", validate_clusters),
        )
        # Whether there are such clusters is looked at for routes alone, and not in a tree of them, as in Envoy.
        self.around = replace(self.around, mirrors=compile_mirrors(view, context, None))
        self.domains: set[str] = set()

    def compile(self) -> Steps[RouteTable]:
        """The table, a virtual host with each step."""
        view = self.view
        hosts = []
        for entry in view.views_in_turn("virtual_hosts"):
            hosts.append(self._virtual_host(entry))
            yield
        internal_only = []
        for name in view.texts("internal_only_headers"):
            try:
                internal_only.append(check_name(name))
            except ValueError as error:
                self.context.problems.append(view.error(str(error), "internal_only_headers"))
        return RouteTable(
            name=self.name,
            virtual_hosts=tuple(hosts),
            internal_only_headers=tuple(internal_only),
            ignore_port_in_host_matching=view.boolean("ignore_port_in_host_matching"),
            ignore_path_parameters=view.boolean("ignore_path_parameters_in_path_matching"),
            host_header=view.text("vhost_header").lower(),
            metadata=compile_metadata(view, "metadata"),
        )

    def _joined(self, table: Mutations, host: Mutations, route: Mutations) -> Mutations:
        return table + host + route if self.specific_wins else route + host + table

    def _virtual_host(self, view: ConfigView) -> VirtualHost:
        context = self.context
        around = self.around
        retry = view.view("retry_policy")
        policy = None
        if retry is not None:
            with retry.collect(context.problems):
                policy = compile_retry_policy(retry, context)
        level = compile_filter_level(view, around.filters, context)
        hedging = view.view("hedge_policy")
        around = replace(
            around,
            levels=(level, *around.levels),
            retry_policy=policy,
            hedges=compile_hedging(hedging) if hedging is not None else False,
            mirrors=compile_mirrors(view, context, None) or around.mirrors,
            fallback=(*compile_older_cors(view, around.filters, context), *around.fallback),
        )
        limits: list[RateLimit] = []
        for entry in view.views("rate_limits"):
            with entry.collect(context.problems):
                limits += compile_rate_limits([entry], context)
        shared = Route(
            match=_NO_PATH,
            action=_NO_ACTION,
            request_mutations=compile_level(view, "request", context),
            response_mutations=compile_level(view, "response", context),
            virtual_host=view.text("name"),
            include_request_attempt_count=view.boolean("include_request_attempt_count"),
            include_attempt_count_in_response=view.boolean("include_attempt_count_in_response"),
            tells_timeout_retry=view.boolean("include_is_timeout_retry_header"),
            request_buffer_limit=_buffer_limit(view),
            virtual_host_rate_limits=tuple(limits),
            virtual_clusters=_compile_virtual_clusters(view),
        )
        routes: list[Route] = []
        for entry in view.views("routes"):
            with entry.collect(context.problems):
                routes.append(self._route(entry, shared, around))
        tree = None
        matcher = view.view("matcher")
        if matcher is not None:
            with matcher.collect(context.problems):
                if routes:
                    matcher.fail("cannot set both matcher and routes on virtual host")
                tree = self._tree(matcher, shared, replace(around, validate_clusters=False), routes)
        return VirtualHost(
            name=shared.virtual_host,
            domains=self._domains(view),
            routes=tuple(routes),
            require_tls=view.enum("require_tls"),
            virtual_clusters=shared.virtual_clusters,
            metadata=compile_metadata(view, "metadata"),
            tree=tree,
        )

    def _tree(
        self, view: ConfigView, shared: Route, around: Surroundings, routes: list[Route]
    ) -> Match[tuple[Route, ...]]:
        """A matcher tree that leads to routes, which are added to `routes`."""

        def compile_routes(typed: TypedView) -> tuple[Route, ...]:
            entries = [typed.message(_ROUTE)] if typed.full_name == _ROUTE else typed.message(_ROUTES).views("routes")
            compiled = tuple(self._route(entry, shared, around) for entry in entries)
            routes.extend(compiled)
            return compiled

        return compile_matcher(view, compile_routes, http_inputs(_TREE_INPUTS), self.context)

    def _domains(self, view: ConfigView) -> tuple[str, ...]:
        domains = []
        for domain in view.texts("domains"):
            lowered = wire_text(domain).lower()
            if lowered in self.domains:
                message = (
                    f"Only a single wildcard domain is permitted in route {self.name}"
                    if lowered == "*"
                    else f"Only unique values for domains are permitted. Duplicate entry of domain {lowered} in route "
                    f"{self.name}"
                )
                self.context.problems.append(view.error(message, "domains"))
            self.domains.add(lowered)
            domains.append(lowered)
        return tuple(domains)

    def _route(self, view: ConfigView, shared: Route, around: Surroundings) -> Route:
        context = self.context
        match_view = view.required("match")
        match = compile_path_match(match_view)
        levels = (compile_filter_level(view, around.filters, context), *around.levels)
        decorator = view.view("decorator")
        limit = _buffer_limit(view)
        forward = view.view("route")
        older = compile_older_cors(forward, around.filters, context) if forward is not None else ()
        levels = (*levels, *older, *around.fallback)
        return replace(
            shared,
            match=match,
            action=compile_action(view, match, replace(around, levels=levels)),
            name=view.text("name"),
            conditions=compile_conditions(match_view, context),
            request_mutations=self._joined(
                self.request, shared.request_mutations, compile_level(view, "request", context)
            ),
            response_mutations=self._joined(
                self.response, shared.response_mutations, compile_level(view, "response", context)
            ),
            per_filter_config=merge_levels(levels, around.filters),
            metadata=compile_metadata(view, "metadata"),
            decorator=decorator.text("operation") if decorator is not None else "",
            decorator_propagate=decorator.boolean("propagate", True) if decorator is not None else True,
            tracing=compile_route_tracing(view.view("tracing"), context),
            stat_prefix=view.text("stat_prefix"),
            counts=(RouteCounts(),) if view.text("stat_prefix") else (),
            request_buffer_limit=shared.request_buffer_limit if limit is None else limit,
            rate_limits=compile_rate_limits(forward.views("rate_limits"), context) if forward is not None else (),
            include_virtual_host_rate_limits=forward is not None and forward.boolean("include_vh_rate_limits"),
        )


def _compile_virtual_clusters(view: ConfigView) -> tuple[VirtualCluster, ...]:
    """`virtual_clusters`; where there are some, another one takes what none of them does. Raises ConfigError."""
    clusters = []
    for entry in view.views("virtual_clusters"):
        headers = entry.views("headers")
        if not headers:
            entry.fail("virtual clusters must define 'headers'")
        conditions = tuple(of_request(compile_header_matcher(header)) for header in headers)
        clusters.append(VirtualCluster(entry.text("name"), conditions, RouteCounts()))
    return (*clusters, VirtualCluster("", (), RouteCounts())) if clusters else ()


def _buffer_limit(view: ConfigView) -> int | None:
    """`request_body_buffer_limit`, or its older form; None when neither is set."""
    newer, older = view.integer("request_body_buffer_limit", -1), view.integer("per_request_buffer_limit_bytes", -1)
    limit = newer if newer >= 0 else older
    return limit if limit >= 0 else None


def compile_route_table(view: ConfigView, filters: Sequence[FilterSpec], context: CompileContext) -> RouteTable:
    """`RouteConfiguration` for a connection manager with these HTTP filters. Problems are noted in the context."""
    return finish(_TableCompiler(view, filters, context, validate_clusters=True).compile())


def compile_discovered_routes(
    view: ConfigView, filters: Sequence[FilterSpec], context: CompileContext
) -> Steps[RouteTable]:
    """A `RouteConfiguration` that came by discovery: whole, or ConfigError with all its problems.

    Its clusters may come later, unless it says `validate_clusters` itself. context: the connection manager's.
    """
    own = replace(context, problems=[], warnings=[])
    table = yield from _TableCompiler(view, filters, own, validate_clusters=False).compile()
    problems = [*own.problems, *view.unread_problems()]
    if problems:
        raise ConfigError(problems)
    return table
