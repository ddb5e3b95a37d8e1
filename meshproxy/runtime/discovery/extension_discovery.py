"""Configurations of single filters from discovery (ECDS): one subscription for each source, kind and name.

When a configuration is taken away, or never comes, the default of the slot is in force, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from meshproxy.config.bootstrap.resources import extension_of
from meshproxy.model.discovery import EXTENSION, ConfigSource, Resource
from meshproxy.model.extension_slot import ExtensionSlot
from meshproxy.model.listener import FilterSpec, Listener
from meshproxy.plugin.stats import StatNames
from meshproxy.runtime.discovery.listener_parts import specs_of
from meshproxy.runtime.discovery.slot_discovery import Provider, SlotDiscovery
from meshproxy.runtime.discovery.watch import Watch
from meshproxy.steps import Steps

_EXTENSION = StatNames(counters=("config_conflict", "config_fail", "config_reload"))
_STAT_PREFIX = {"HTTP": "http_filter", "network": "network_filter", "listener": "tcp_listener_filter"}

Key = tuple[str, ConfigSource, str]
"""Kind, source and name."""
ExtensionProvider = Provider[Key, ExtensionSlot]


def extension_slots_of(listener: Listener) -> list[ExtensionSlot]:
    """The slots of a listener's filters, of all three kinds."""
    return [spec.slot for spec in specs_of(listener) if spec.slot is not None]


class ExtensionDiscovery(SlotDiscovery[Key, ExtensionSlot, FilterSpec]):
    """All of them."""

    def acquire(self, slot: ExtensionSlot, when_settled: Callable[[], object]) -> Steps[None]:
        """Fill a slot from now on. when_settled: called, maybe at once, when a configuration came or none will."""
        kind, source, name = key = _key(slot)

        def make_watch(apply: Any) -> Watch:
            scope = self._hub.host.stats.scope(f"extension_config_discovery.{_STAT_PREFIX[kind]}.{name}.")
            scope.declare(_EXTENSION)
            return Watch(self._hub, EXTENSION, source, (name,), scope, apply)

        return self._acquire(key, name, slot, make_watch, partial(self._settled, key, slot), when_settled)

    def _settled(self, key: Key, slot: ExtensionSlot) -> None:
        provider = self.providers.get(key)
        if provider is not None and provider.resource is None:
            provider.watch.scope.counter("config_fail").inc()
            slot.set(None)

    def release(self, slot: ExtensionSlot) -> None:
        """A slot isn't used any more."""
        self._release(_key(slot), slot)

    def hold(self, slot: ExtensionSlot) -> Callable[[], None]:
        """Go on asking for its configuration until what is returned is called."""
        return self._hold(_key(slot))

    def _compile(self, resource: Resource, slot: ExtensionSlot) -> Steps[FilterSpec]:
        yield  # others have had their turn; the one step is short
        return extension_of(resource, slot)

    def _fill(self, slot: ExtensionSlot, value: FilterSpec | None) -> None:
        slot.set(value)

    def _tell(self, provider: ExtensionProvider, message: Any) -> None:
        kind, _, name = provider.key
        self._target.set_extension(kind, name, message)

    def _count(self, provider: ExtensionProvider, event: str) -> None:
        if event == "update_empty":
            return  # Envoy has no such counter here
        if event == "config_fail" and provider.resource is None:
            return  # counted once the subscription has settled without one
        super()._count(provider, event)


def _key(slot: ExtensionSlot) -> Key:
    return slot.kind, slot.source, slot.name
