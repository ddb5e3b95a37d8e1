"""Route tables from discovery (RDS): one subscription for each source and name, whichever managers ask for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.config.bootstrap.resources import routes_in_steps
from meshproxy.model.discovery import ROUTES, ConfigSource, Resource
from meshproxy.model.route import RouteTable
from meshproxy.model.route_slot import RouteSlot
from meshproxy.plugin.stats import StatNames
from meshproxy.runtime.discovery.slot_discovery import Provider, SlotDiscovery
from meshproxy.runtime.discovery.watch import Watch
from meshproxy.steps import Steps

_TABLE = StatNames(counters=("config_reload", "update_empty"), gauges=("config_reload_time_ms",))

Key = tuple[ConfigSource, str]
"""Source and name."""
RouteProvider = Provider[Key, RouteSlot]


class RouteDiscovery(SlotDiscovery[Key, RouteSlot, RouteTable]):
    """All of them."""

    def acquire(self, slot: RouteSlot, stat_prefix: str, when_settled: Callable[[], object]) -> Steps[None]:
        """Fill a slot from now on. when_settled: called, maybe at once, when a table came or none will.

        stat_prefix: of the connection manager that asks first; the statistics are under its name.
        """
        source, name = key = _key(slot)

        def make_watch(apply: Any) -> Watch:
            scope = self._hub.host.stats.scope(f"http.{stat_prefix}.rds.{name}.")
            scope.declare(_TABLE)
            return Watch(self._hub, ROUTES, source, (name,), scope, apply)

        return self._acquire(key, name, slot, make_watch, when_settled)

    def release(self, slot: RouteSlot) -> None:
        """A slot isn't used any more."""
        self._release(_key(slot), slot)

    def hold(self, slot: RouteSlot) -> Callable[[], None]:
        """Go on asking for its routes until what is returned is called."""
        return self._hold(_key(slot))

    def _compile(self, resource: Resource, slot: RouteSlot) -> Steps[RouteTable]:
        return routes_in_steps(resource, slot)

    def _fill(self, slot: RouteSlot, value: RouteTable | None) -> None:
        slot.set(value)

    def _removed(self, provider: RouteProvider) -> None:
        """Routes go with the listeners that name them and not before (as in Envoy): those in force stay."""
        self._hub.host.log.warning("the removal of routes that are in use is ignored", name=provider.name)

    def _tell(self, provider: RouteProvider, message: Any) -> None:
        source, name = provider.key
        self._target.set_routes(name, source, message)

    def _count(self, provider: RouteProvider, event: str) -> None:
        if event == "config_fail":
            return  # `update_rejected` of the subscription says it
        super()._count(provider, event)
        if event == "config_reload":
            now = int(self._hub.host.clock.wall() * 1000)
            provider.watch.scope.gauge("config_reload_time_ms").set(now)


def _key(slot: RouteSlot) -> Key:
    assert slot.source is not None
    return slot.source, slot.name
