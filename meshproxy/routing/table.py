"""From a request to its route.

Theory. A virtual host is found by the authority, a route by the path and then by what else it asks. Both first steps
depend on one string alone, so what they gave is remembered in a bounded table: authority -> virtual host, and path ->
the routes whose path matches, in order. Only the conditions of those few are left to ask per request. A table that is
full is emptied: a client that never repeats a path costs one insertion per request and no memory.

The order of domains is Envoy's (config.route.v3.VirtualHost): exact, longest suffix wildcard `*.foo`, longest prefix
wildcard `foo.*`, then `*`. Domains compare without regard to case; a port is part of the string.
"""

from __future__ import annotations

import re
import time
from functools import cached_property
from typing import Any

from meshproxy.headers import RequestHeaders
from meshproxy.model.route import PathMatch, Route, RouteTable, VirtualHost

_PARAMETERS = re.compile(r";[^/]*")
_REMEMBERED = 1024
_REMEMBERED_LENGTH = 256


def path_matches(match: PathMatch, path: str) -> bool:
    """Whether a route's path part matches `path` (without query)."""
    kind = match.kind
    if kind == "regex":
        assert match.matches is not None
        return match.matches(path)
    if not match.case_sensitive:
        path = path.lower()
    value = match.value
    if kind == "prefix":
        return path.startswith(value)
    if kind == "path":
        return path == value
    if kind == "path_separated_prefix":
        return path.startswith(value) and (len(path) == len(value) or path[len(value)] == "/")
    return False


class _Host:
    """A virtual host with what it remembers of paths."""

    __slots__ = ("connect_routes", "ignores_parameters", "remembered", "require_tls", "routes", "tree", "virtual_host")

    def __init__(self, virtual_host: VirtualHost, ignores_parameters: bool) -> None:
        self.virtual_host = virtual_host
        self.ignores_parameters = ignores_parameters
        # Where a tree chooses, nothing is found in order, and `find` comes to the tree at its end.
        self.tree = virtual_host.tree
        self.routes = virtual_host.routes if self.tree is None else ()
        self.require_tls = virtual_host.require_tls
        self.connect_routes = tuple(route for route in self.routes if route.match.kind == "connect")
        self.remembered: dict[str, tuple[Route, ...]] = {}

    def candidates(self, path: str) -> tuple[Route, ...]:
        """Routes whose path part matches, in order; those behind an unconditional one can't be reached."""
        found: list[Route] = []
        looked_at = _PARAMETERS.sub("", path) if self.ignores_parameters else path
        for route in self.routes:
            if path_matches(route.match, looked_at):
                found.append(route)
                if not route.conditions:
                    break
        candidates = tuple(found)
        if len(path) <= _REMEMBERED_LENGTH:
            if len(self.remembered) >= _REMEMBERED:
                self.remembered.clear()
            self.remembered[path] = candidates
        return candidates


class RouteIndex:
    """A route table, ready to be asked."""

    def __init__(self, table: RouteTable) -> None:
        self.table = table
        self._host_header = table.host_header
        self._exact: dict[str, VirtualHost] = {}
        self._suffixes: list[tuple[str, VirtualHost]] = []
        self._prefixes: list[tuple[str, VirtualHost]] = []
        self._any: VirtualHost | None = None
        self._hosts: dict[VirtualHost, _Host] = {}  # those that were asked for
        self._remembered: dict[str, _Host | None] = {}
        for virtual_host in table.virtual_hosts:
            for domain in virtual_host.domains:
                if "*" in domain:
                    self._add_pattern(domain, virtual_host)
                else:
                    self._exact[domain] = virtual_host
        self._suffixes.sort(key=lambda entry: -len(entry[0]))
        self._prefixes.sort(key=lambda entry: -len(entry[0]))

    def _add_pattern(self, domain: str, virtual_host: VirtualHost) -> None:
        if domain == "*":
            self._any = virtual_host
        elif domain.startswith("*"):
            self._suffixes.append((domain[1:], virtual_host))
        elif domain.endswith("*"):
            self._prefixes.append((domain[:-1], virtual_host))
        else:
            self._exact[domain] = virtual_host

    def _find_virtual_host(self, authority: str) -> VirtualHost | None:
        wanted = authority.lower()
        if self.table.ignore_port_in_host_matching:
            wanted = _without_port(wanted)
        found = self._exact.get(wanted)
        if found is None:
            # A wildcard stands for at least one character.
            found = next((v for suffix, v in self._suffixes if wanted.endswith(suffix) and wanted != suffix), None)
        if found is None:
            found = next(
                (v for prefix, v in self._prefixes if wanted.startswith(prefix) and wanted != prefix), self._any
            )
        return found

    def _find_host(self, authority: str) -> _Host | None:
        virtual_host = self._find_virtual_host(authority)
        host = None
        if virtual_host is not None:
            host = self._hosts.get(virtual_host)
            if host is None:
                host = self._hosts[virtual_host] = _Host(virtual_host, self.table.ignore_path_parameters)
        if len(authority) <= _REMEMBERED_LENGTH:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[authority] = host
        return host

    def virtual_host(self, route: Route | None, request: RequestHeaders) -> VirtualHost | None:
        """The virtual host of a route, or of a request that has none."""
        if route in self._owners:
            return self._owners[route]
        host = self._find_host(self._host_of(request))
        return None if host is None else host.virtual_host

    def _host_of(self, request: RequestHeaders) -> str:
        """What its virtual host is found by, "" for nothing."""
        return (request.get(self._host_header) or "") if self._host_header else request.authority

    @cached_property
    def _owners(self) -> dict[Route | None, VirtualHost]:
        return {route: host for host in self.table.virtual_hosts for route in host.routes}

    def find(self, request: RequestHeaders, stream: Any) -> Route | None:
        """The route of a request; `stream` is what conditions beyond the head look at.

        None: no virtual host or no route. A route of a virtual host that requires TLS is returned all the same: ask
        `requires_tls` first.
        """
        authority = request.authority
        if self._host_header:
            authority = self._host_of(request)
            if not authority:
                return None
        try:
            host = self._remembered[authority]
        except KeyError:
            host = self._find_host(authority)
        if host is None:
            return None
        if request.method == "CONNECT":
            candidates = host.connect_routes
        else:
            path = request.path
            query = path.find("?")
            if query >= 0:
                path = path[:query]
            try:
                candidates = host.remembered[path]
            except KeyError:
                candidates = host.candidates(path)
        for route in candidates:
            for condition in route.conditions:
                if not condition(request, stream):
                    break
            else:
                return route
        return None if host.tree is None else _chosen(host.tree(stream) or (), request, stream)

    def requires_tls(self, request: RequestHeaders) -> bool:
        """Whether the request must be sent to its https twin (`require_tls`)."""
        authority = request.get(self._host_header) if self._host_header else request.authority
        if authority is None:
            return False
        host = self._remembered.get(authority) or self._find_host(authority)
        if host is None or host.require_tls == "NONE":
            return False
        fields = request.fields
        if fields.get("x-forwarded-proto") == "https":
            return False
        return host.require_tls == "ALL" or fields.get("x-envoy-internal") != "true"

    @property
    def has_tls_requirement(self) -> bool:
        """Whether any virtual host asks for TLS."""
        return any(virtual_host.require_tls != "NONE" for virtual_host in self.table.virtual_hosts)


class MeasuredRoutes(RouteIndex):
    """One that notes in each stream how often it was asked, and for how long."""

    def find(self, request: RequestHeaders, stream: Any) -> Route | None:
        began = time.perf_counter()
        route = super().find(request, stream)
        stream.route_resolutions += 1
        stream.route_resolution_time += time.perf_counter() - began
        return route


def _chosen(routes: tuple[Route, ...], request: RequestHeaders, stream: Any) -> Route | None:
    """The first of the routes that a tree led to which takes the request."""
    path = request.path.partition("?")[0]
    for route in routes:
        of_connect = route.match.kind == "connect"
        if of_connect is not (request.method == "CONNECT") or not (of_connect or path_matches(route.match, path)):
            continue
        if all(condition(request, stream) for condition in route.conditions):
            return route
    return None


def _without_port(authority: str) -> str:
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdigit() else authority
