"""Hosts that a request names itself (envoy.extensions.load_balancing_policies.override_host): a list of addresses in a
field or in dynamic metadata, the best first; each attempt takes the next one that is a host of the cluster.

Health isn't asked, as in Envoy: who names a host is taken to know. When the list is used up, or there is none, another
policy picks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from meshproxy.balance.host import Host
from meshproxy.balance.host_set import HostSet

_STATE = "envoy.load_balancing_policies.override_host"


class OverrideSource(Protocol):
    """What of `meshproxy.model.cluster.OverrideSource` is read here."""

    @property
    def header(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def path(self) -> tuple[str, ...]: ...


class NamedHosts:
    """sets: the cluster's hosts by priority, another object whenever they have changed."""

    def __init__(self, sources: Sequence[OverrideSource], sets: Callable[[], tuple[HostSet, ...]]) -> None:
        self._sources = sources
        self._sets = sets
        self._seen: object = None
        self._by_address: dict[str, Host] = {}

    def next(self, stream: Any) -> Host | None:
        """The host for this attempt of a stream; None for another policy to pick."""
        state = stream.filter_state
        left: list[str] | None = state.get(_STATE) if state else None
        if left is None:
            left = self._named(stream)
            stream.set_filter_state(_STATE, left)
        while left:
            host = self._find(left.pop(0))
            if host is not None:
                return host
        return None

    def _find(self, address: str) -> Host | None:
        sets = self._sets()
        if sets is not self._seen:
            self._seen = sets
            self._by_address = {host.text: host for host_set in sets for host in host_set.hosts}
        return self._by_address.get(address)

    def _named(self, stream: Any) -> list[str]:
        found: list[str] = []
        for source in self._sources:
            text = self._in_header(stream, source) if source.header else self._in_metadata(stream, source)
            found += [address for each in text.split(",") if (address := each.strip(" \t"))]
        return found

    def _in_header(self, stream: Any, source: OverrideSource) -> str:
        request = stream.request
        return (request.get(source.header) or "") if request is not None else ""

    def _in_metadata(self, stream: Any, source: OverrideSource) -> str:
        value: Any = (stream.dynamic_metadata or {}).get(source.namespace)
        for key in source.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, str) else ""
