"""Listeners and filter chains that are out of force, and what is asked for on their account meanwhile.

Their connections follow the routes and filters that they have, so these are kept up to date until the last one is gone.
The subscriptions stay until the drain time is over, whether or not anybody is connected: so it is in Envoy, and a
listener that comes back finds its routes there. A listener counts and is shown as long as either goes on.

Invariant: of a listener without connections nothing is kept but its message, and that only of the newest of its name;
with changes by the second and a drain time of ten minutes there may be very many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from meshproxy.model.extension_slot import ExtensionSlot
from meshproxy.model.route_slot import RouteSlot
from meshproxy.plugin.stats import Gauge
from meshproxy.records import dataclass
from meshproxy.runtime.discovery.extension_discovery import ExtensionDiscovery
from meshproxy.runtime.discovery.route_discovery import RouteDiscovery
from meshproxy.runtime.discovery.secret_discovery import SecretDiscovery

if TYPE_CHECKING:
    from meshproxy.runtime.discovery.listener_discovery import ListenerEntry


@dataclass(slots=True, eq=False)
class Left:
    """What connections that are left go on using, and the slots of secrets that went with it."""

    slots: list[RouteSlot] = field(default_factory=list)
    extensions: list[ExtensionSlot] = field(default_factory=list)
    tls: list[Any] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Drain:
    """name: of the listener, "" for filter chains. holds: what gives the subscriptions up. ends: still to come."""

    name: str
    holds: list[Callable[[], None]]
    ends: int = 2


class Draining:
    """All that drains. entries: the newest listener of each name. gauge: of how many listeners there are."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        drain_time: float,
        routes: RouteDiscovery,
        extensions: ExtensionDiscovery,
        secrets: SecretDiscovery,
        gauge: Gauge,
    ) -> None:
        self._loop = loop
        self._drain_time = drain_time
        self._routes = routes
        self._extensions = extensions
        self._secrets = secrets
        self._gauge = gauge
        self._newest: dict[str, _Drain] = {}
        self.entries: dict[str, ListenerEntry] = {}

    def begin(self, left: Left, entry: ListenerEntry | None = None) -> Callable[[], None]:
        """From now on a listener (`entry`), or filter chains of one, drain.

        Returns what is to be called when the last connection is gone.
        """
        holds = [self._routes.hold(slot) for slot in left.slots]
        holds += [self._extensions.hold(extension) for extension in left.extensions]
        holds.append(partial(self._secrets.release, left.tls))
        left.tls = []
        drain = _Drain(entry.name if entry is not None else "", holds)
        if entry is not None:
            self._newest[entry.name] = drain
            self.entries[entry.name] = entry
            self._gauge.add(1)
        self._loop.call_later(self._drain_time, self._time_is_over, drain)
        return partial(self._is_empty, drain, left, entry)

    def release(self, left: Left) -> None:
        """Nobody uses these any more."""
        for slot in left.slots:
            self._routes.release(slot)
        for extension in left.extensions:
            self._extensions.release(extension)
        self._secrets.release(left.tls)
        left.slots, left.extensions, left.tls = [], [], []

    def _is_empty(self, drain: _Drain, left: Left, entry: ListenerEntry | None) -> None:
        self.release(left)
        if entry is not None:
            entry.config = replace(entry.config, filter_chains=(), default_filter_chain=None, listener_filters=())
        self._end(drain)

    def _time_is_over(self, drain: _Drain) -> None:
        for let_go in drain.holds:
            let_go()
        self._end(drain)

    def _end(self, drain: _Drain) -> None:
        drain.ends -= 1
        if drain.ends or not drain.name:
            return
        self._gauge.sub(1)
        if self._newest[drain.name] is drain:
            del self._newest[drain.name], self.entries[drain.name]
