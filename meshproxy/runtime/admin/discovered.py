"""What discovery has in force, as entries of envoy.admin.v3.ConfigDump."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from meshproxy.runtime.admin.legible import legible
from meshproxy.runtime.discovery.cluster_discovery import STATIC, ClusterEntry
from meshproxy.runtime.discovery.engine import Discovery
from meshproxy.runtime.discovery.listener_discovery import ListenerEntry

Entry = dict[str, Any]
Wanted = Callable[[str], bool]


def timestamp(wall: float) -> str:
    """A google.protobuf.Timestamp as JSON has it, in milliseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(wall))}.{int(wall % 1 * 1000):03d}Z"


class Discovered:
    """The dump's entries by field. Fields that aren't here are none of discovery's."""

    def __init__(self, discovery: Discovery) -> None:
        # Copies: while a dump is written, discovery goes on.
        clusters, listeners = discovery.clusters, discovery.listeners
        self._clusters = dict(clusters.active)
        self._warming_clusters = dict(clusters.warming)
        self._listeners = {
            "active_state": list(listeners.active.values()),
            "warming_state": list(listeners.warming.values()),
            "draining_state": list(listeners.draining.entries.values()),
        }
        self._refused_listeners = {name: listeners.refused[name] for name in listeners.failed}
        self._routes = list(discovery.routes.providers.values())
        self._secrets = list(discovery.secrets.providers.values())
        self._extensions = list(discovery.extensions.providers.values())
        self._versions = {"ClustersConfigDump": clusters.version, "ListenersConfigDump": listeners.version}
        self.fields: dict[str, Callable[[Wanted], list[Entry]]] = {
            "static_clusters": self._static_clusters,
            "dynamic_active_clusters": lambda wanted: self._dynamic_clusters(self._clusters, wanted),
            "dynamic_warming_clusters": lambda wanted: self._dynamic_clusters(self._warming_clusters, wanted),
            "static_listeners": self._static_listeners,
            "dynamic_listeners": self._dynamic_listeners,
            "dynamic_route_configs": self._dynamic_routes,
            "dynamic_active_secrets": self._dynamic_secrets,
            "ecds_filters": self._extensions_in_force,
        }

    def version(self, dump: str) -> str:
        """The `version_info` of a whole dump."""
        return self._versions.get(dump, "")

    @property
    def size(self) -> int:
        """About how many bytes of configuration there are."""
        size = sum(len(entry.raw) for entry in self._clusters.values()) + sum(len(each.raw) for each in self._routes)
        return size + sum(len(entry.raw) for entries in self._listeners.values() for entry in entries)

    def is_dynamic(self, cluster: str) -> bool:
        """Whether a cluster came by discovery."""
        entry = self._clusters.get(cluster)
        return entry is not None and entry.origin != STATIC

    def listeners(self) -> Iterator[tuple[Any, str]]:
        """All of them, each with the time when it came."""
        for entries in self._listeners.values():
            for entry in entries:
                yield entry.message, timestamp(entry.updated)

    def _static_clusters(self, wanted: Wanted) -> list[Entry]:
        entries = [entry for entry in self._clusters.values() if entry.origin == STATIC]
        return [
            {"cluster": legible(entry.message), "last_updated": timestamp(entry.updated)}
            for entry in entries
            if wanted(entry.name)
        ]

    def _dynamic_clusters(self, clusters: dict[str, ClusterEntry], wanted: Wanted) -> list[Entry]:
        return [
            _versioned("cluster", entry.message, entry.version, entry.updated)
            for entry in clusters.values()
            if entry.origin != STATIC and wanted(entry.name)
        ]

    def _static_listeners(self, wanted: Wanted) -> list[Entry]:
        return [
            {"listener": legible(entry.message), "last_updated": timestamp(entry.updated)}
            for entry in self._listeners["active_state"]
            if entry.origin == STATIC and wanted(entry.name)
        ]

    def _dynamic_listeners(self, wanted: Wanted) -> list[Entry]:
        shown: dict[str, Entry] = {}
        for state, entries in self._listeners.items():
            for entry in entries:
                if entry.origin != STATIC and wanted(entry.name):
                    shown.setdefault(entry.name, {"name": entry.name}).setdefault(state, _listener_state(entry))
        nameless = []  # Envoy tells of each fault twice
        for name, (message, error, wall) in self._refused_listeners.items():
            if wanted(name):
                fault = {"failed_configuration": legible(message), "details": error}
                attempt = {"last_update_attempt": timestamp(wall)}
                shown.setdefault(name, {"name": name})["error_state"] = fault | attempt
                nameless.append({"error_state": fault})
        return [*shown.values(), *nameless]

    def _dynamic_routes(self, wanted: Wanted) -> list[Entry]:
        return [
            _versioned("route_config", provider.resource.message, provider.resource.version, provider.updated)
            for provider in self._routes
            if provider.resource is not None and wanted(provider.name)
        ]

    def _dynamic_secrets(self, wanted: Wanted) -> list[Entry]:
        return [
            {"name": provider.resource.name}
            | _versioned("secret", provider.resource.message, provider.resource.version, provider.watch.state.updated)
            for provider in self._secrets
            if provider.resource is not None and wanted(provider.resource.name)
        ]

    def _extensions_in_force(self, wanted: Wanted) -> list[Entry]:
        return [
            {
                "version_info": provider.resource.version,
                "ecds_filter": legible(provider.resource.message),
                "last_updated": timestamp(provider.updated),
            }
            for provider in self._extensions
            if provider.resource is not None and wanted(provider.name)
        ]


def _versioned(field: str, message: Any, version: str, updated: float) -> Entry:
    return {"version_info": version, field: legible(message), "last_updated": timestamp(updated)}


def _listener_state(entry: ListenerEntry) -> Entry:
    return _versioned("listener", entry.message, entry.version, entry.updated)
