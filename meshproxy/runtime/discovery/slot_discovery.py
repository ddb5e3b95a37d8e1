"""What route tables and configurations of single filters have in common when discovery gives them.

A *provider* is one subscription to one resource, for all slots that ask for the same. A resource is compiled for each
slot, since what it may say depends on where the slot stands; it comes into force in all of them or in none.

Invariants:
- a provider is in `providers` exactly as long as it has a slot or is held;
- `resource` is what is in force in every slot of it, None when nothing is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from meshproxy.errors import ConfigError
from meshproxy.model.discovery import Resource
from meshproxy.runtime.discovery.cluster_discovery import packed
from meshproxy.runtime.discovery.target import Target
from meshproxy.runtime.discovery.watch import Hub, Watch
from meshproxy.runtime.process.collector import LARGE, making_much
from meshproxy.steps import Steps

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")
V = TypeVar("V")


class Provider(Generic[K, S]):
    """One resource.

    slots: where it is used. last: the slot that was used last, when none is any more; what comes is compiled for it, to
    see whether it is good. holds: how many keep the subscription even so. updated: when the resource became what it is.
    refused: the last that couldn't be used, why, and when. Times are wall clock.
    """

    watch: Watch

    def __init__(self, key: K, name: str) -> None:
        self.key = key
        self.name = name
        self.slots: dict[S, None] = {}
        self.last: S | None = None
        self.holds = 0
        self.resource: Resource | None = None
        self.raw = b""
        self.updated = 0.0
        self.refused: tuple[Any, str, float] | None = None


class SlotDiscovery(ABC, Generic[K, S, V]):
    """All providers of a kind, by key. S: the slots; V: what is compiled for one."""

    def __init__(self, hub: Hub, target: Target) -> None:
        self._hub = hub
        self._target = target
        self.providers: dict[K, Provider[K, S]] = {}

    @abstractmethod
    def _compile(self, resource: Resource, slot: S) -> Steps[V]:
        """Raises ConfigError."""

    @abstractmethod
    def _fill(self, slot: S, value: V | None) -> None:
        """Put it into force; None: there is none any more."""

    @abstractmethod
    def _tell(self, provider: Provider[K, S], message: Any) -> None:
        """Tell the workers of what is in force now; None: nothing."""

    def _count(self, provider: Provider[K, S], event: str) -> None:
        """event: "update_empty" (without the resource), "config_fail" (it was refused) or "config_reload"."""
        provider.watch.scope.counter(event).inc()

    def _acquire(
        self, key: K, name: str, slot: S, make_watch: Callable[[Any], Watch], *when_settled: Callable[[], object]
    ) -> Steps[None]:
        """Fill a slot from now on, at once if the resource is there.

        make_watch: called with its `apply` if nobody has asked for the resource before. when_settled: called, maybe at
        once, when a resource came or none will.
        """
        provider = self.providers.get(key)
        fresh = provider is None
        if provider is None:
            provider = self.providers[key] = Provider(key, name)
            provider.watch = make_watch(partial(self._apply, key))
        provider.slots[slot] = None
        provider.last = None
        yield from self._fill_with_held(provider, slot)
        for call in when_settled:
            provider.watch.when_settled(call)
        if fresh:
            provider.watch.start()

    def _fill_with_held(self, provider: Provider[K, S], slot: S) -> Steps[None]:
        """Fill a slot that comes later than the resource, unless a newer one does it meanwhile."""
        resource = provider.resource
        if resource is None:
            return
        try:
            with making_much(len(provider.raw) > LARGE):
                value = yield from self._compile(resource, slot)
        except ConfigError as error:
            self._hub.host.log.warning("the configuration can't be used here", name=provider.name, error=str(error))
            return
        if provider.resource is resource and slot in provider.slots:
            self._fill(slot, value)

    def _release(self, key: K, slot: S) -> None:
        """A slot isn't used any more."""
        provider = self.providers.get(key)
        if provider is None:
            return
        provider.slots.pop(slot, None)
        if not provider.slots:
            provider.last = slot
            self._close_if_unused(provider)

    def _hold(self, key: K) -> Callable[[], None]:
        """Keep the subscription of a slot until what is returned is called, even if nobody uses it any more."""
        provider = self.providers.get(key)
        if provider is None:
            return lambda: None
        provider.holds += 1
        return partial(self._let_go, provider)

    def _let_go(self, provider: Provider[K, S]) -> None:
        provider.holds -= 1
        self._close_if_unused(provider)

    def _close_if_unused(self, provider: Provider[K, S]) -> None:
        if not provider.slots and not provider.holds and self.providers.pop(provider.key, None) is not None:
            provider.watch.close()

    def _apply(
        self, key: K, added: Sequence[Resource], removed: Sequence[str], full: bool, version: str
    ) -> Steps[Mapping[str, str]]:
        provider = self.providers.get(key)
        if provider is None:
            return {}
        if not added:
            if provider.name in removed:
                self._removed(provider)
            else:
                self._count(provider, "update_empty")
            return {}
        resource = added[0]
        raw = packed(resource.message)
        if raw == provider.raw:
            return {}
        try:
            values: dict[S, V] = {}
            if provider.last is not None:
                yield from self._compile(resource, provider.last)
            while slots := [slot for slot in provider.slots if slot not in values]:  # others may come between two steps
                values[slots[0]] = yield from self._compile(resource, slots[0])
        except ConfigError as error:
            provider.refused = (resource.message, str(error), self._hub.host.clock.wall())
            self._count(provider, "config_fail")
            return {resource.name: str(error)}
        if self.providers.get(key) is not provider:
            return {}  # nobody wants it any more
        provider.resource = Resource(resource.name, resource.version, resource.message, checked=True)
        provider.raw = raw
        provider.updated = self._hub.host.clock.wall()
        provider.refused = None
        for slot in provider.slots:
            self._fill(slot, values[slot])
        self._count(provider, "config_reload")
        self._tell(provider, resource.message)
        return {}

    def _removed(self, provider: Provider[K, S]) -> None:
        """The server says that there is no such resource any more, or its time to live is over."""
        provider.resource, provider.raw = None, b""
        for slot in provider.slots:
            self._fill(slot, None)
        self._tell(provider, None)
