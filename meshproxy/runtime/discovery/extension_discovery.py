"""Configurations of single filters from discovery (ECDS): one subscription for each source, kind and name.

A configuration is compiled for each slot, since each stands in a chain of its own; it comes into force in all of them
or in none. When it is taken away, or never comes, the default of the slot is in force, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from meshproxy.config.resources import extension_of
from meshproxy.errors import ConfigError
from meshproxy.model.discovery import EXTENSION, ConfigSource, Resource
from meshproxy.model.extension_slot import ExtensionSlot
from meshproxy.model.listener import FilterSpec, Listener
from meshproxy.plugin.stats import StatNames
from meshproxy.runtime.discovery.cluster_discovery import packed
from meshproxy.runtime.discovery.listener_parts import chains_of, managers_of
from meshproxy.runtime.discovery.target import Target
from meshproxy.runtime.discovery.watch import Hub, Watch

_EXTENSION = StatNames(counters=("config_conflict", "config_fail", "config_reload"))
_STAT_PREFIX = {"HTTP": "http_filter", "network": "network_filter", "listener": "tcp_listener_filter"}

Key = tuple[str, ConfigSource, str]
"""Kind, source and name."""


def extension_slots_of(listener: Listener) -> list[ExtensionSlot]:
    """The slots of a listener's filters, of all three kinds."""
    return [spec.slot for spec in _specs(listener) if spec.slot is not None]


def _specs(listener: Listener) -> Iterator[FilterSpec]:
    yield from listener.listener_filters
    for chain in chains_of(listener):
        yield from chain.filters
    for manager in managers_of(listener):
        yield from manager.http_filters
        for upgrade in manager.upgrades.values():
            yield from upgrade.filters or ()


class ExtensionProvider:
    """One configuration. slots: where it is used. resource: the one in force."""

    def __init__(self, watch: Watch, kind: str, name: str) -> None:
        self.watch = watch
        self.kind = kind
        self.name = name
        self.slots: dict[ExtensionSlot, None] = {}
        self.resource: Resource | None = None
        self.raw = b""
        self.refused: tuple[Any, str, float] | None = None


class ExtensionDiscovery:
    """All of them."""

    def __init__(self, hub: Hub, target: Target) -> None:
        self._hub = hub
        self._target = target
        self.providers: dict[Key, ExtensionProvider] = {}

    def acquire(self, slot: ExtensionSlot, when_settled: Callable[[], object]) -> None:
        """Fill a slot from now on. when_settled: called, maybe at once, when a configuration came or none will."""
        key = (slot.kind, slot.source, slot.name)
        provider = self.providers.get(key)
        fresh = provider is None
        if provider is None:
            scope = self._hub.host.stats.scope(f"extension_config_discovery.{_STAT_PREFIX[slot.kind]}.{slot.name}.")
            scope.declare(_EXTENSION)
            watch = Watch(self._hub, EXTENSION, slot.source, (slot.name,), scope, partial(self._apply, key))
            provider = self.providers[key] = ExtensionProvider(watch, slot.kind, slot.name)
        provider.slots[slot] = None
        if provider.resource is not None:
            self._fill(slot, provider.resource)
        provider.watch.when_settled(partial(self._settled, provider, slot))
        provider.watch.when_settled(when_settled)
        if fresh:
            provider.watch.start()

    def _fill(self, slot: ExtensionSlot, resource: Resource) -> None:
        try:
            slot.set(extension_of(resource, slot))
        except ConfigError as error:
            self._hub.host.log.warning("the configuration can't be used here", filter=slot.name, error=str(error))

    @staticmethod
    def _settled(provider: ExtensionProvider, slot: ExtensionSlot) -> None:
        if provider.resource is None:
            provider.watch.scope.counter("config_fail").inc()
            slot.set(None)

    def release(self, slot: ExtensionSlot) -> None:
        """A slot isn't used any more."""
        key = (slot.kind, slot.source, slot.name)
        provider = self.providers.get(key)
        if provider is None:
            return
        provider.slots.pop(slot, None)
        if not provider.slots:
            del self.providers[key]
            provider.watch.close()

    def _apply(
        self, key: Key, added: Sequence[Resource], removed: Sequence[str], full: bool, version: str
    ) -> Mapping[str, str]:
        provider = self.providers.get(key)
        if provider is None:
            return {}
        if not added:
            if provider.name in removed:
                provider.resource, provider.raw = None, b""
                for slot in provider.slots:
                    slot.set(None)
                self._target.set_extension(provider.kind, provider.name, None)
            return {}
        resource = added[0]
        raw = packed(resource.message)
        if raw == provider.raw:
            return {}
        try:
            specs = [(slot, extension_of(resource, slot)) for slot in provider.slots]
        except ConfigError as error:
            provider.refused = (resource.message, str(error), self._hub.host.clock.wall())
            if provider.resource is not None:
                provider.watch.scope.counter("config_fail").inc()
            return {resource.name: str(error)}
        provider.resource = Resource(resource.name, resource.version, resource.message, checked=True)
        provider.raw = raw
        provider.refused = None
        for slot, spec in specs:
            slot.set(spec)
        provider.watch.scope.counter("config_reload").inc()
        self._target.set_extension(provider.kind, provider.name, resource.message)
        return {}
