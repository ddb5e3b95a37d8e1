"""Route tables from discovery (RDS): one subscription for each source and name, for all connection managers that ask.

A table is compiled for each slot, since what it says about filters depends on the filters that stand there. It comes
into force in all slots or in none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from meshproxy.config.resources import routes_of
from meshproxy.errors import ConfigError
from meshproxy.model.discovery import ROUTES, ConfigSource, Resource
from meshproxy.model.route_slot import RouteSlot
from meshproxy.plugin.stats import StatNames
from meshproxy.runtime.discovery.cluster_discovery import packed
from meshproxy.runtime.discovery.target import Target
from meshproxy.runtime.discovery.watch import Hub, Watch

_TABLE = StatNames(counters=("config_reload", "update_empty"), gauges=("config_reload_time_ms",))


class RouteProvider:
    """One route table. slots: where it is used. resource: the one in force."""

    def __init__(self, watch: Watch, name: str, source: ConfigSource) -> None:
        self.watch = watch
        self.name = name
        self.source = source
        self.slots: dict[RouteSlot, None] = {}
        self.resource: Resource | None = None
        self.raw = b""
        self.refused: tuple[Any, str, float] | None = None


class RouteDiscovery:
    """All of them, by source and name."""

    def __init__(self, hub: Hub, target: Target) -> None:
        self._hub = hub
        self._target = target
        self.providers: dict[tuple[ConfigSource, str], RouteProvider] = {}

    def acquire(self, slot: RouteSlot, stat_prefix: str, when_settled: Callable[[], object]) -> None:
        """Fill a slot from now on. when_settled: called, maybe at once, when a table came or none will."""
        assert slot.source is not None
        key = (slot.source, slot.name)
        provider = self.providers.get(key)
        if provider is None:
            scope = self._hub.host.stats.scope(f"http.{stat_prefix}.rds.{slot.name}.")
            scope.declare(_TABLE)
            watch = Watch(self._hub, ROUTES, slot.source, (slot.name,), scope, partial(self._apply, key, scope))
            provider = self.providers[key] = RouteProvider(watch, slot.name, slot.source)
            provider.slots[slot] = None
            watch.when_settled(when_settled)
            watch.start()
            return
        provider.slots[slot] = None
        if provider.resource is not None:
            try:
                slot.set(routes_of(provider.resource, slot))
            except ConfigError as error:
                self._hub.host.log.warning("routes refused for a listener", routes=slot.name, error=str(error))
        provider.watch.when_settled(when_settled)

    def release(self, slot: RouteSlot) -> None:
        """A slot isn't used any more."""
        assert slot.source is not None
        key = (slot.source, slot.name)
        provider = self.providers.get(key)
        if provider is None:
            return
        provider.slots.pop(slot, None)
        if not provider.slots:
            del self.providers[key]
            provider.watch.close()

    def _apply(
        self,
        key: tuple[ConfigSource, str],
        scope: Any,
        added: Sequence[Resource],
        removed: Sequence[str],
        full: bool,
        version: str,
    ) -> Mapping[str, str]:
        provider = self.providers.get(key)
        if provider is None:
            return {}
        if not added:
            scope.counter("update_empty").inc()
            if provider.name in removed:
                provider.resource, provider.raw = None, b""
                for slot in provider.slots:
                    slot.set(None)
                self._target.set_routes(provider.name, provider.source, None)
            return {}
        resource = added[0]
        raw = packed(resource.message)
        if raw == provider.raw:
            return {}
        try:
            tables = [(slot, routes_of(resource, slot)) for slot in provider.slots]
        except ConfigError as error:
            provider.refused = (resource.message, str(error), self._hub.host.clock.wall())
            return {resource.name: str(error)}
        provider.resource = Resource(resource.name, resource.version, resource.message, checked=True)
        provider.raw = raw
        provider.refused = None
        for slot, table in tables:
            slot.set(table)
        scope.counter("config_reload").inc()
        scope.gauge("config_reload_time_ms").set(int(self._hub.host.clock.wall() * 1000))
        self._target.set_routes(provider.name, provider.source, resource.message)
        return {}
