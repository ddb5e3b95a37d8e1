"""`track_cluster_stats.per_endpoint_stats`: what is counted of each host, as statistics of its own.

The hosts have their numbers anyway, so nothing is added to the path of a request: they are copied when somebody looks.
Whoever was a host and isn't any more has no statistics any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from meshproxy.balance.host import Health, Host

if TYPE_CHECKING:
    from meshproxy.telemetry.stats import Scope

_COUNTERS = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
_GAUGES = ("cx_active", "rq_active")


class EndpointStats:
    """scope: the cluster's. hosts: gives those that it has by now."""

    def __init__(self, scope: Scope, hosts: Callable[[], Iterable[Host]]) -> None:
        self._scope = scope
        self._hosts = hosts
        self._scopes: dict[Host, Scope] = {}

    def fold(self) -> None:
        """Bring the statistics up to date."""
        hosts = set(self._hosts())
        for gone in self._scopes.keys() - hosts:
            self._scopes.pop(gone).close()
        for host in hosts:
            scope = self._scopes.get(host)
            if scope is None:
                scope = self._scopes[host] = self._scope.scope(f"endpoint.{host.text.replace(':', '_')}.")
            for name in _COUNTERS:
                scope.counter(name).value = getattr(host, name)
            for name in _GAUGES:
                scope.gauge(name).set(getattr(host, name))
            scope.gauge("rq_pending_active").set(0)
            scope.gauge("healthy", "max").set(int(host.health is Health.HEALTHY))
