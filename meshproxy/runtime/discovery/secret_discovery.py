"""Secrets from discovery (SDS): one subscription for each source and name, for all sockets and filters that ask.

The source is a management server or a file; filters read their secrets in files themselves (`NamedSecret`). A secret
that one of its users can't work with is refused, and that user keeps what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from meshproxy.config.bootstrap.resources import secret_of
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.discovery import SECRET, Resource
from meshproxy.model.listener import FilterSpec, Listener, TransportSocket
from meshproxy.model.tls import SecretReference
from meshproxy.plugin.stats import StatNames
from meshproxy.runtime.discovery.listener_parts import chains_of, specs_of
from meshproxy.runtime.discovery.target import Target
from meshproxy.runtime.discovery.watch import Hub, Watch


def slots_of(owner: Listener | ClusterConfig) -> Iterator[Any]:
    """What of a listener or cluster waits for secrets to be provided: TLS slots, and secrets of filters."""
    sockets: list[TransportSocket | None]
    specs: Iterable[FilterSpec]
    if isinstance(owner, Listener):
        sockets, specs = [chain.transport_socket for chain in chains_of(owner)], specs_of(owner)
    else:
        sockets = [owner.transport_socket, *(match.socket for match in owner.transport_socket_matches)]
        specs = owner.policies.filters
    for socket in sockets:
        if socket is not None and socket.config.awaited:
            yield socket.config
    for spec in specs:
        yield from spec.context.awaited_secrets


_SECRET = StatNames(counters=("key_rotation_failed",))


class SecretProvider:
    """One secret. slots: its users, and how many parts of the configuration each of them belongs to."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.slots: dict[Any, int] = {}
        self.secret: Any = None
        self.resource: Resource | None = None


class SecretDiscovery:
    """All of them, by reference."""

    def __init__(self, hub: Hub, context: CompileContext, target: Target) -> None:
        self._hub = hub
        self._context = context
        self._target = target
        self.providers: dict[SecretReference, SecretProvider] = {}

    def acquire(self, slots: Iterable[Any], wait: Callable[[str], Callable[[], object]]) -> None:
        """Provide slots with their secrets from now on.

        wait: given what is waited for, in words, it gives what is called, maybe at once, when that came or never will.
        """
        for slot in slots:
            for reference in slot.awaited:
                provider = self.providers.get(reference)
                fresh = provider is None
                if provider is None:
                    scope = self._hub.host.stats.scope(f"sds.{reference.name}.")
                    scope.declare(_SECRET)
                    apply = partial(self._apply, reference)
                    watch = Watch(self._hub, SECRET, reference.source, (reference.name,), scope, apply)
                    provider = self.providers[reference] = SecretProvider(watch)
                provider.slots[slot] = provider.slots.get(slot, 0) + 1
                if provider.secret is not None:
                    self._complain(reference, slot.provide(reference, provider.secret))
                provider.watch.when_settled(wait(f"secret '{reference.name}'"))
                if fresh:
                    provider.watch.start()

    def _complain(self, reference: SecretReference, fault: str) -> None:
        if fault:
            self._hub.host.log.warning("a secret can't be used", secret=reference.name, error=fault)

    def release(self, slots: Iterable[Any]) -> None:
        """Slots aren't used any more by one part of the configuration."""
        for slot in slots:
            for reference in slot.awaited:
                provider = self.providers.get(reference)
                if provider is None or slot not in provider.slots:
                    continue
                provider.slots[slot] -= 1
                if not provider.slots[slot]:
                    del provider.slots[slot]
                if not provider.slots:
                    del self.providers[reference]
                    provider.watch.close()

    def _apply(
        self, reference: SecretReference, added: Sequence[Resource], removed: Sequence[str], full: bool, version: str
    ) -> Mapping[str, str]:
        provider = self.providers.get(reference)
        if provider is None or not added:
            return {}
        resource = added[0]
        fresh = Resource(resource.name, resource.version, resource.message, checked=True)
        if provider.resource is not None and provider.resource.message == resource.message:
            provider.resource = fresh
            return {}
        try:
            secret = secret_of(resource, self._context)
        except ConfigError as error:
            return {resource.name: str(error)}
        faults = [fault for fault in [slot.provide(reference, secret) for slot in provider.slots] if fault]
        if faults:
            return {resource.name: faults[0]}
        provider.secret = secret
        provider.resource = fresh
        self._target.set_secret(reference.name, resource.message)
        return {}
