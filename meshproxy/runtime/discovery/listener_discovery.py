"""Listeners that come and go: those of the bootstrap, and those of LDS.

A listener that is new or changed warms: its route tables are fetched. Then it takes the place of the one that it
replaces, with its sockets, and the connections of the old one drain. When only filter chains differ nothing but the
chains that are gone drains. A listener whose message is the same as before isn't touched.

Until `start` nothing accepts: as in Envoy, all listeners of the start begin together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import Any

from meshproxy.address import Address
from meshproxy.config.bootstrap.resources import listener_in_steps
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError, Problem
from meshproxy.model.discovery import LISTENER, ConfigSource, Resource
from meshproxy.model.extension_slot import ExtensionSlot
from meshproxy.model.listener import Listener
from meshproxy.model.route_slot import RouteSlot
from meshproxy.records import dataclass
from meshproxy.runtime.discovery.cluster_discovery import DYNAMIC, STATIC, packed
from meshproxy.runtime.discovery.draining import Draining, Left
from meshproxy.runtime.discovery.extension_discovery import ExtensionDiscovery, extension_slots_of
from meshproxy.runtime.discovery.listener_parts import (
    can_inherit,
    collides,
    keep_chains,
    managers_of,
    only_chains_differ,
)
from meshproxy.runtime.discovery.route_discovery import RouteDiscovery
from meshproxy.runtime.discovery.secret_discovery import SecretDiscovery, slots_of
from meshproxy.runtime.discovery.target import Opened, Target
from meshproxy.runtime.discovery.watch import Hub, Watch
from meshproxy.runtime.downstream.listening_socket import bound_addresses
from meshproxy.runtime.process.bind import BindError, open_addresses
from meshproxy.runtime.process.configuration import check_log_files
from meshproxy.runtime.process.hot_restart import Inherited
from meshproxy.steps import Steps, finish

_ASKING = "asking"


@dataclass(slots=True, eq=False)
class ListenerEntry:
    """One listener in one version.

    sockets: opened for it and not yet given to the target; None: none of its own, it inherits those of `heir_of`.
    bound: where it can be reached, ports chosen by the kernel included.
    waits: what it lacks before it may begin. in_place: only filter chains differ from the active one.
    """

    config: Listener
    message: Any
    raw: bytes
    origin: str
    version: str
    updated: float
    sockets: Opened | None = None
    heir_of: str = ""
    in_place: bool = False
    bound: list[Address] = field(default_factory=list)
    slots: list[RouteSlot] = field(default_factory=list)
    extensions: list[ExtensionSlot] = field(default_factory=list)
    tls: list[Any] = field(default_factory=list)
    waits: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.config.name


class ListenerDiscovery:
    """All listeners by name.

    draining: out of force. refused: name -> (message, error, wall clock). failed: the names of those that
    the last update refused.
    """

    def __init__(
        self,
        hub: Hub,
        context: CompileContext,
        target: Target,
        routes: RouteDiscovery,
        secrets: SecretDiscovery,
        extensions: ExtensionDiscovery,
        copies: int,
        drain_time: float,
        inherited: Inherited | None = None,
    ) -> None:
        """copies: how many workers there are, each of which needs sockets of its own. inherited: an older process's."""
        self._hub = hub
        self._context = context
        self._target = target
        self._routes = routes
        self._secrets = secrets
        self._extensions = extensions
        self._copies = copies
        self.open_sockets = partial(open_addresses, copies=copies, listening=False, inherited=inherited)
        self._clock = hub.host.clock
        self.active: dict[str, ListenerEntry] = {}
        self.warming: dict[str, ListenerEntry] = {}
        self.refused: dict[str, tuple[Any, str, float]] = {}
        self.failed: list[str] = []
        self.version = ""
        self.watch: Watch | None = None
        self.started = False
        self._when_warm: list[Callable[[], object]] = []
        scope = hub.host.stats.scope("listener_manager.")
        self._scope = scope
        self._added = scope.counter("listener_added")
        self._modified = scope.counter("listener_modified")
        self._removed = scope.counter("listener_removed")
        self._in_place = scope.counter("listener_in_place_updated")
        self._created = scope.counter("listener_create_success")
        self._not_created = scope.counter("listener_create_failure")
        self._active_gauge = scope.gauge("total_listeners_active")
        self._warming_gauge = scope.gauge("total_listeners_warming")
        gauge = scope.gauge("total_listeners_draining")
        self.draining = Draining(hub.host.loop, drain_time, routes, extensions, secrets, gauge)

    def adopt(self, config: Listener, message: Any, sockets: Opened | None) -> None:
        """A listener of the bootstrap, with its sockets."""
        entry = ListenerEntry(config, message, packed(message), STATIC, "", self._clock.wall(), sockets)
        entry.bound = bound_addresses(config, sockets[0] if sockets else ())
        self._added.inc()
        finish(self._warm(entry))

    def subscribe(self, source: ConfigSource) -> Watch:
        """Begin with LDS."""
        apply = partial(self.apply, DYNAMIC)
        self.watch = Watch(self._hub, LISTENER, source, (), self._scope.scope("lds."), apply)
        self.watch.start()
        return self.watch

    def start(self) -> None:
        """Let the listeners that there are accept."""
        self.started = True
        for entry in list(self.active.values()):
            self._hand_over(entry, None, Left())

    def when_warm(self, call: Callable[[], object]) -> None:
        """Call back, maybe at once, when no listener waits for anything."""
        self._when_warm.append(call)
        self._tell_if_warm()

    def _tell_if_warm(self) -> None:
        if self._when_warm and not self.warming:
            calls, self._when_warm = self._when_warm, []
            for call in calls:
                call()

    def missing(self) -> list[str]:
        """What a start still waits for, in words."""
        return [f"listener '{name}': {wait}" for name, entry in self.warming.items() for wait in sorted(entry.waits)]

    # What is new.

    def apply(
        self, origin: str, added: Sequence[Resource], removed: Sequence[str], full: bool, version: str
    ) -> Steps[Mapping[str, str]]:
        """Put listeners of one origin into force, in steps. Returns the faults of the refused, by name."""
        errors: dict[str, str] = {}
        names = {resource.name for resource in added}
        known = {**self.active, **self.warming}
        gone = [name for name, entry in known.items() if entry.origin == origin and name not in names] if full else []
        gone += [name for name in removed if name in known and known[name].origin == origin]
        seen: set[str] = set()
        changed = bool(gone)
        for resource in added:
            name = resource.name
            if name in seen:
                errors[name] = f"duplicate listener {name} found"
                continue
            seen.add(name)
            try:
                changed |= yield from self._set(resource, origin, gone)
                self.refused.pop(name, None)
            except ConfigError as error:
                errors[name] = str(error)
                self.refused[name] = (resource.message, str(error), self._clock.wall())
            yield
        if origin == DYNAMIC:
            self.failed = [name for name in errors if name in self.refused]
            if changed:
                self.version = version
        inherited = {entry.heir_of for entry in self.warming.values()}
        for name in gone:
            if name not in inherited:
                self._remove(name)
        self._count()
        self._tell_if_warm()
        return errors

    def _set(self, resource: Resource, origin: str, gone: list[str]) -> Steps[bool]:
        """Returns whether that is news. Raises ConfigError. gone: names of listeners that go with this update."""
        name = resource.name
        raw = packed(resource.message)
        active = self.active.get(name)
        before = self.warming.get(name) or active
        if before is not None and (before.raw == raw or (before.origin == STATIC and origin == DYNAMIC)):
            return False  # the same, or one of the bootstrap, which discovery can't change
        if active is not None and active.raw == raw:
            self._cancel_warming(name)
            return True
        config = yield from listener_in_steps(resource, self._context, check_log_files)
        entry = ListenerEntry(config, resource.message, raw, origin, resource.version, self._clock.wall())
        active = self.active.get(name)
        try:
            self._find_sockets(entry, active, gone)
        except ConfigError:
            config.scope.close()
            raise
        except BindError as error:
            config.scope.close()
            self._not_created.inc()
            raise ConfigError(Problem("", str(error))) from None
        (self._added if before is None else self._modified).inc()
        self._cancel_warming(name)
        yield from self._warm(entry)
        return True

    def _find_sockets(self, entry: ListenerEntry, active: ListenerEntry | None, gone: list[str]) -> None:
        """Where a listener's sockets come from. Raises ConfigError or BindError."""
        config = entry.config
        for other in (*self.active.values(), *self.warming.values()):
            address = collides(config, other.config) if other.name not in (config.name, *gone) else None
            if address is not None:
                text = f"error adding listener: '{config.name}' has duplicate address '{address.text}'"
                raise ConfigError(Problem("address", f"{text} as existing listener '{other.name}'"))
        if active is not None:
            entry.heir_of = active.name
            if only_chains_differ(active.message, entry.message):
                entry.config = keep_chains(active.config, active.message, config, entry.message)
                entry.in_place = self.started
                entry.sockets, entry.bound = active.sockets, active.bound
                return
            if can_inherit(config, active.config):
                # As long as nothing was started the sockets are with the entry.
                entry.sockets, entry.bound = active.sockets, active.bound
                return
        else:
            for name in gone:
                old = self.active.get(name)
                if old is not None and collides(config, old.config) and can_inherit(config, old.config):
                    entry.heir_of = name
                    entry.sockets, entry.bound = old.sockets, old.bound
                    return
        entry.sockets = [[] for _ in range(self._copies)]
        if config.bind_to_port:
            entry.sockets = self.open_sockets(config)
        entry.bound = bound_addresses(config, entry.sockets[0])

    def _warm(self, entry: ListenerEntry) -> Steps[None]:
        self.warming[entry.name] = entry
        before = self.active.get(entry.name)
        shared = set(before.slots) if entry.in_place and before is not None else set()
        wanted = {m.routes: m.stat_prefix for m in managers_of(entry.config) if m.routes.source is not None}
        entry.slots += wanted
        entry.waits.add(_ASKING)  # an answer may come at once, and another not
        for slot, stat_prefix in wanted.items():
            if slot not in shared:
                settled = self._wait(entry, f"routes '{slot.name}'")
                yield from self._routes.acquire(slot, stat_prefix, settled)
        entry.extensions = extension_slots_of(entry.config)
        kept = before.extensions if entry.in_place and before is not None else ()
        for extension in entry.extensions:
            if extension not in kept:
                settled = self._wait(entry, f"filter '{extension.name}'") if not extension.at_once else _nothing
                yield from self._extensions.acquire(extension, settled)
        entry.tls = list(slots_of(entry.config))
        self._secrets.acquire(entry.tls, partial(self._wait, entry))
        yield
        self._came(entry, _ASKING)

    def _wait(self, entry: ListenerEntry, wait: str) -> Callable[[], object]:
        entry.waits.add(wait)
        return partial(self._came, entry, wait)

    def _came(self, entry: ListenerEntry, wait: str) -> None:
        entry.waits.discard(wait)
        self._activate_if_warm(entry)

    def _activate_if_warm(self, entry: ListenerEntry) -> None:
        if entry.waits or self.warming.get(entry.name) is not entry:
            return
        del self.warming[entry.name]
        before = self.active.pop(entry.heir_of, None) if entry.heir_of else None
        self.active[entry.name] = entry
        left = self._leave(before, keep=entry) if before is not None else Left()
        if self.started:
            self._hand_over(entry, before, left)
        else:
            self.draining.release(left)
        if before is not None:
            if before.sockets is not entry.sockets:
                _close(before.sockets)
            if before.name != entry.name:
                self._removed.inc()
        self._count()
        self._tell_if_warm()

    def _hand_over(self, entry: ListenerEntry, before: ListenerEntry | None, left: Left) -> None:
        """Give a listener to the target. left: what `before` has, and this doesn't."""
        if entry.in_place:
            self._target.update_chains(entry.config, entry.message, self.draining.begin(left))
            self._in_place.inc()
            self._created.add(self._copies)
            return
        sockets, entry.sockets = entry.sockets, None
        heir_of, over = "", _nothing
        if before is not None:
            heir_of, over = before.name, self.draining.begin(left, before)
        self._target.set_listener(entry.config, entry.message, sockets, heir_of, over)
        self._created.add(self._copies)

    def _leave(self, entry: ListenerEntry, keep: ListenerEntry | None = None) -> Left:
        """An entry is out of force. Returns what it alone had, for its connections follow that. keep: what it shares
        with this one is none of it."""
        slots = [slot for slot in entry.slots if keep is None or slot not in keep.slots]
        extensions = [each for each in entry.extensions if keep is None or each not in keep.extensions]
        left = Left(slots, extensions, entry.tls)
        entry.slots, entry.extensions, entry.tls = [], [], []
        return left

    def _cancel_warming(self, name: str) -> None:
        entry = self.warming.pop(name, None)
        if entry is None:
            return
        active = self.active.get(name)
        self.draining.release(self._leave(entry, keep=active))
        entry.config.scope.close()
        if active is None or entry.sockets is not active.sockets:
            _close(entry.sockets)

    def _remove(self, name: str) -> None:
        self._cancel_warming(name)
        self.refused.pop(name, None)
        self._removed.inc()
        entry = self.active.pop(name, None)
        if entry is None:
            return
        left = self._leave(entry)
        if self.started:
            self._target.remove_listener(name, self.draining.begin(left, entry))
        else:
            self.draining.release(left)
            _close(entry.sockets)

    def _count(self) -> None:
        self._active_gauge.set(len(self.active))
        self._warming_gauge.set(len(self.warming))


def _nothing() -> None:
    """Nobody waits."""


def _close(sockets: Opened | None) -> None:
    for own in sockets or ():
        for sock in own:
            sock.close()
