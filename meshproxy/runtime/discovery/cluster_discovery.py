"""Clusters that come and go: those of the bootstrap, those of CDS, and the endpoints of each that has them from EDS.

A cluster that is new or changed *warms*: its endpoints are fetched, its names looked up, its hosts checked; until then
the one that it replaces serves. A cluster whose message is the same as before isn't touched. Each resource is taken or
refused by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import Any

from meshproxy.config.bootstrap.resources import assignment_of, cluster_of
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError, Problem
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.discovery import CLUSTER, ENDPOINTS, ConfigSource, Resource
from meshproxy.model.endpoint import Assignment
from meshproxy.plugin.stats import StatNames
from meshproxy.records import dataclass
from meshproxy.runtime.discovery.pace import SLICE
from meshproxy.runtime.discovery.secret_discovery import SecretDiscovery, slots_of
from meshproxy.runtime.discovery.sources import Pause
from meshproxy.runtime.discovery.target import Target
from meshproxy.runtime.discovery.watch import Hub, Watch
from meshproxy.steps import Steps

STATIC = "static"
DYNAMIC = "dynamic"


def packed(message: Any) -> bytes:
    """A message as bytes that are equal when the messages are."""
    packed: bytes = message.SerializeToString(deterministic=True)
    return packed


_ENDPOINTS = "endpoints"
_PUSHES = StatNames(counters=("config_reload",), gauges=("config_reload_time_ms",))


@dataclass(slots=True, eq=False)
class ClusterEntry:
    """One cluster in one version. raw: its message, packed. endpoints: what EDS said last, packed, and as `assignment`;
    it counts for `stale_after` seconds (0: for good), until `stale`."""

    config: ClusterConfig
    message: Any
    raw: bytes
    origin: str
    version: str
    updated: float
    watch: Watch | None = None
    endpoints_message: Any = None
    endpoints: bytes | None = None
    assignment: Assignment = Assignment()
    stale_after: float = 0.0
    stale: asyncio.TimerHandle | None = None
    tls: list[Any] = field(default_factory=list)
    waits: set[str] = field(default_factory=set)
    released: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        return self.config.name

    def close(self) -> None:
        """It is gone."""
        if self.watch is not None:
            self.watch.close()
        self.keep_fresh(None)
        self.released()
        self.tls = []

    def keep_fresh(self, timer: asyncio.TimerHandle | None) -> None:
        """Its endpoints have come; timer: until they are stale."""
        if self.stale is not None:
            self.stale.cancel()
        self.stale = timer


class ClusterDiscovery:
    """All clusters by name.

    active: in force. warming: about to be. refused: name -> (message, error, wall clock).
    holds: a push is acknowledged when all of its clusters are warm, so that a server may count on them (as in Envoy,
    once the start is over).
    """

    def __init__(self, hub: Hub, context: CompileContext, target: Target, secrets: SecretDiscovery) -> None:
        self._hub = hub
        self._context = context
        self._target = target
        self._secrets = secrets
        self._clock = hub.host.clock
        self.active: dict[str, ClusterEntry] = {}
        self.warming: dict[str, ClusterEntry] = {}
        self.refused: dict[str, tuple[Any, str, float]] = {}
        self.version = ""
        self.watch: Watch | None = None
        self._fresh: dict[ClusterEntry, Assignment] = {}  # to be put into force in the next turn of the loop
        self._awaited: set[str] = set()  # clusters of the bootstrap whose endpoints haven't come
        self._when_warm: list[Callable[[], object]] = []
        self.holds = False
        self._hold: Pause | None = None
        scope = hub.host.stats.scope("cluster_manager.")
        self._scope = scope
        self._added = scope.counter("cluster_added")
        self._modified = scope.counter("cluster_modified")
        self._removed = scope.counter("cluster_removed")
        self._active_gauge = scope.gauge("active_clusters")
        self._warming_gauge = scope.gauge("warming_clusters")

    def adopt(self, config: ClusterConfig, message: Any) -> None:
        """A cluster of the bootstrap, which is in force already but for its endpoints."""
        entry = ClusterEntry(config, message, packed(message), STATIC, "", self._clock.wall())
        self.active[config.name] = entry
        if config.eds is not None:
            self._awaited.add(config.name)
            self._watch_endpoints(entry)
            assert entry.watch is not None
            entry.watch.when_settled(partial(self._came, config.name))
        entry.tls = list(slots_of(config))
        entry.released = partial(self._secrets.release, entry.tls)
        self._secrets.acquire(entry.tls, lambda wait: self._tell_if_warm)

    def _came(self, name: str) -> None:
        self._awaited.discard(name)
        self._tell_if_warm()

    def subscribe(self, source: ConfigSource) -> Watch:
        """Begin with CDS."""
        apply = partial(self.apply, DYNAMIC)
        scope = self._scope.scope("cds.")
        scope.declare(_PUSHES)
        self.watch = Watch(self._hub, CLUSTER, source, (), scope, apply)
        self.watch.start()
        return self.watch

    def when_warm(self, call: Callable[[], object]) -> None:
        """Call back, maybe at once, when every cluster is warm."""
        self._when_warm.append(call)
        self._tell_if_warm()

    def _tell_if_warm(self) -> None:
        if not self.warming and self._hold is not None:
            hold, self._hold = self._hold, None
            hold.resume()
        if self._when_warm and not self.warming and not self._awaited:
            calls, self._when_warm = self._when_warm, []
            for call in calls:
                call()

    def missing(self) -> list[str]:
        """What a start still waits for, in words."""
        waits = [f"cluster '{name}' is warming" for name in self.warming]
        return waits + [f"the endpoints of cluster '{name}'" for name in self._awaited]

    # What is new.

    def apply(
        self, origin: str, added: Sequence[Resource], removed: Sequence[str], full: bool, version: str
    ) -> Steps[Mapping[str, str]]:
        """Put clusters of one origin into force, one with each step. Returns the faults of the refused, by name."""
        errors: dict[str, str] = {}
        seen: set[str] = set()
        fresh = gone_any = False
        for resource in added:
            name = resource.name
            if name in seen:
                errors[name] = f"duplicate cluster {name} found"
                continue
            seen.add(name)
            try:
                fresh |= yield from self._set(resource, origin)
                self.refused.pop(name, None)
            except ConfigError as error:
                errors[name] = str(error)
                self.refused[name] = (resource.message, str(error), self._clock.wall())
            yield
        known = {**self.warming, **self.active}
        gone = [name for name, entry in known.items() if entry.origin == origin and name not in seen] if full else []
        for name in (*gone, *removed):
            if name in known and known[name].origin == origin:
                self._remove(name)
                gone_any = True
                yield
        if origin == DYNAMIC:
            if fresh or gone_any:
                self.version = version
            if fresh and not errors:
                self._count_reload()
        self._count()
        self._tell_if_warm()
        return errors

    def _count_reload(self) -> None:
        if self.watch is not None:
            scope = self.watch.scope
            scope.counter("config_reload").inc()
            scope.gauge("config_reload_time_ms").set(int(self._clock.wall() * 1000))

    def _set(self, resource: Resource, origin: str) -> Steps[bool]:
        """Returns whether that is news. Raises ConfigError."""
        name = resource.name
        before = self.warming.get(name) or self.active.get(name)
        again = before is not None and before.message is resource.message
        raw = before.raw if before is not None and again else packed(resource.message)
        if before is not None and (before.raw == raw or (before.origin == STATIC and origin == DYNAMIC)):
            if name in self.warming and self.active.get(name) is not None and self.active[name].raw == raw:
                self._cancel_warming(name)
                return True
            return False  # the same, or one of the bootstrap, which discovery can't change
        if not name:
            raise ConfigError(Problem("name", "a cluster needs a name"))
        (self._added if before is None else self._modified).inc()  # whatever comes of it, as in Envoy
        config = cluster_of(resource, self._context)
        yield
        entry = ClusterEntry(config, resource.message, raw, origin, resource.version, self._clock.wall())
        self._context.cluster_names.add(name)
        self._cancel_warming(name)
        self.warming[name] = entry
        if self.holds and self._hold is None and self.watch is not None:
            self._hold = self._hub.sources.of(self.watch.source).pause(CLUSTER)
        self._watch_endpoints(entry)
        entry.waits.add(_ENDPOINTS)
        entry.tls = list(slots_of(config))
        entry.released = partial(self._secrets.release, entry.tls)
        self._secrets.acquire(entry.tls, partial(self._wait, entry))
        if entry.watch is None:
            self._came_for(entry, _ENDPOINTS)
        else:
            entry.watch.when_settled(partial(self._came_for, entry, _ENDPOINTS))
        return True

    def _wait(self, entry: ClusterEntry, wait: str) -> Callable[[], object]:
        entry.waits.add(wait)
        return partial(self._came_for, entry, wait)

    def _came_for(self, entry: ClusterEntry, wait: str) -> None:
        entry.waits.discard(wait)
        if not entry.waits:
            self._ready(entry)

    def _cancel_warming(self, name: str) -> None:
        entry = self.warming.pop(name, None)
        if entry is not None:
            entry.close()

    def _ready(self, entry: ClusterEntry) -> None:
        """It has its endpoints, or won't get any: it may warm where it runs."""
        if self.warming.get(entry.name) is entry:
            self._target.set_cluster(entry.config, entry.message, entry.endpoints_message, partial(self._warm, entry))

    def _warm(self, entry: ClusterEntry) -> None:
        name = entry.name
        if self.warming.get(name) is not entry:
            return
        del self.warming[name]
        before = self.active.get(name)
        self.active[name] = entry
        if before is not None:
            before.close()
        self._count()
        self._tell_if_warm()

    def _remove(self, name: str) -> None:
        self._cancel_warming(name)
        entry = self.active.pop(name, None)
        if entry is not None:
            entry.close()
        self._context.cluster_names.discard(name)
        self.refused.pop(name, None)
        self._target.remove_cluster(name)
        self._removed.inc()
        self._tell_if_warm()

    def _count(self) -> None:
        self._active_gauge.set(len(self.active))
        self._warming_gauge.set(len(self.warming))

    # Endpoints.

    def _watch_endpoints(self, entry: ClusterEntry) -> None:
        eds = entry.config.eds
        if eds is None:
            return
        scope = self._hub.host.stats.scope(f"cluster.{entry.config.alt_stat_name or entry.name}.")
        entry.watch = Watch(
            self._hub, ENDPOINTS, eds.source, (eds.name,), scope, partial(self._set_endpoints, entry, scope)
        )
        entry.watch.start()

    def _set_endpoints(
        self,
        entry: ClusterEntry,
        scope: Any,
        added: Sequence[Resource],
        removed: Sequence[str],
        full: bool,
        version: str,
    ) -> Mapping[str, str]:
        if not added:
            scope.counter("update_empty").inc()  # neither news nor a removal: that comes with the cluster's own
            return {}
        resource = added[0]
        known = entry.endpoints_message is resource.message
        raw = entry.endpoints if known else packed(resource.message)
        if raw == entry.endpoints:
            scope.counter("update_no_rebuild").inc()
            self._time_staleness(entry, scope)
            return {}
        try:
            assignment = assignment_of(resource, self._context)
        except ConfigError as error:
            return {resource.name: str(error)}
        entry.stale_after = assignment.stale_after
        self._time_staleness(entry, scope)
        entry.endpoints = raw
        if not (assignment.endpoints or entry.assignment.endpoints):
            scope.counter("update_no_rebuild").inc()
        self._use_endpoints(entry, assignment, resource.message)
        return {}

    def _use_endpoints(self, entry: ClusterEntry, assignment: Assignment, message: Any) -> None:
        entry.endpoints_message, entry.assignment = message, assignment
        if self.warming.get(entry.name) is entry:
            entry.config = entry.config.with_endpoints(assignment)
            self._target.set_endpoints(entry.name, assignment, message, warming=True)
        else:
            if not self._fresh:
                self._hub.host.loop.call_soon(self._take_endpoints)
            self._fresh[entry] = assignment

    def _time_staleness(self, entry: ClusterEntry, scope: Any) -> None:
        """Endpoints have come that may count for some time only."""
        timer = None
        if entry.stale_after:
            scope.counter("assignment_timeout_received").inc()
            timer = self._hub.host.loop.call_later(entry.stale_after, self._let_go_stale, entry, scope)
        entry.keep_fresh(timer)

    def _let_go_stale(self, entry: ClusterEntry, scope: Any) -> None:
        scope.counter("assignment_stale").inc()
        entry.stale = entry.endpoints = None
        self._use_endpoints(entry, Assignment(), type(entry.endpoints_message)(cluster_name=entry.name))

    def _take_endpoints(self) -> None:
        """Put the newest endpoints into force, for a slice of time; of a burst of updates the last one counts."""
        host = self._hub.host
        now = host.clock.now
        began = now()
        passed = 0.0
        while self._fresh and passed < SLICE:
            entry = next(iter(self._fresh))
            assignment = self._fresh.pop(entry)
            if self.active.get(entry.name) is entry:
                entry.config = entry.config.with_endpoints(assignment)
                self._target.set_endpoints(entry.name, assignment, entry.endpoints_message, warming=False)
            passed = now() - began
        host.pace.spent(passed)
        if self._fresh:
            host.loop.call_later(host.pace.wait(), self._take_endpoints)
