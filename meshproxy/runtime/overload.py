"""What a worker does against overload (Envoy: "Overload manager").

Every `refresh_interval` it looks at its monitors; the highest state that an action's triggers have is the action's. An
action between none and all is done that often: the share of requests answered with 503, say. Whoever acts asks the
attributes here, which cost nothing unless an overload manager is configured: `Worker.overload` is None then.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from meshproxy.headers import RequestHeaders
from meshproxy.model.listener import FilterSpec
from meshproxy.model.overload import Action, OverloadConfig, Point, Trigger
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.runtime.resource_monitors import Measure, make_measure

if TYPE_CHECKING:
    from meshproxy.runtime.downstream.http_stream import HttpServerStream
    from meshproxy.runtime.worker import Worker

_SHRINK_EVERY = 10.0
"""Seconds between two givings back of memory; Envoy's is the same."""


_OVERLOADED = LocalReply(503, b"envoy overloaded", details="overload")
_TELLING = replace(_OVERLOADED, headers=(("x-envoy-local-overloaded", "true"),))


class Affected(Protocol):
    """The listeners of the worker, as far as actions touch them."""

    def pause(self, paused: bool) -> None: ...
    def open_connections(self) -> int: ...
    def look_again(self) -> None: ...


class _Gauges:
    """`overload.<name>.active` and `.scale_percent`, or `.shed_load_count` for a point."""

    def __init__(self, worker: Worker, name: str, *, point: bool) -> None:
        scope = worker.stats.scope(f"overload.{name}.")
        self.scale = scope.gauge("scale_percent")
        self.active = None if point else scope.gauge("active")
        self.shed = scope.counter("shed_load_count") if point else None

    def show(self, state: float) -> None:
        self.scale.set(round(state * 100))
        if self.active is not None:
            self.active.set(int(state == 1.0))


class Overload:
    """See the module. max_connections: from clients, of this worker; None: no limit."""

    def __init__(self, worker: Worker, config: OverloadConfig, index: int, workers: int) -> None:
        self._worker = worker
        self._config = config
        self._states: dict[str, float] = dict.fromkeys([*config.actions, *config.points], 0.0)
        self._gauges = {name: _Gauges(worker, name, point=False) for name in config.actions}
        self._gauges |= {name: _Gauges(worker, name, point=True) for name in config.points}
        self._measures: list[tuple[str, Measure]] = [(m.name, make_measure(m, workers)) for m in config.monitors]
        self._pressures: dict[str, float] = {}
        self._affected: Affected | None = None
        self._shrunk = 0.0
        limit = config.max_connections
        self.max_connections = None if limit is None else limit // workers + (index < limit % workers)
        scope = worker.stats.scope("overload.")
        self._delay = scope.histogram("refresh_interval_delay")
        names = [name for name, _ in self._measures] + ([config.connections_name] if config.connections_name else [])
        self._pressure_gauges = {name: scope.gauge(f"{name}.pressure") for name in names}
        self._failed = {name: scope.counter(f"{name}.failed_updates") for name in names}
        for name in names:
            scope.counter(f"{name}.skipped_updates")
        if Action.SHRINK_HEAP in config.actions:
            self._shrink_count = scope.counter(f"{Action.SHRINK_HEAP}.shrink_count")

    def start(self, affected: Affected) -> None:
        """From now on look at the monitors."""
        self._affected = affected
        self._last = self._worker.loop.time()
        self._look()

    def _look(self) -> None:
        loop = self._worker.loop
        now = loop.time()
        self._delay.record((now - self._last) * 1000)
        self._last = now
        for name, measure in self._measures:
            try:
                pressure = measure()
            except (OSError, ValueError):
                self._failed[name].value += 1
                continue
            self._pressures[name] = pressure
            self._pressure_gauges[name].set(int(pressure * 100))
        if self._config.connections_name and self._affected is not None and self.max_connections:
            used = self._affected.open_connections() / self.max_connections
            self._pressures[self._config.connections_name] = used
            self._pressure_gauges[self._config.connections_name].set(int(used * 100))
        for name, triggers in (*self._config.actions.items(), *self._config.points.items()):
            self._enter(name, self._state_of(triggers))
        self._shrink(now)
        loop.call_later(self._config.refresh_interval, self._look)

    def _state_of(self, triggers: Iterable[Trigger]) -> float:
        return max((trigger.state(self._pressures.get(trigger.resource, 0.0)) for trigger in triggers), default=0.0)

    def _enter(self, name: str, state: float) -> None:
        before = self._states[name]
        if state == before:
            return
        self._states[name] = state
        self._gauges[name].show(state)
        if name == Action.DISABLE_KEEPALIVE:
            self._worker.departures += (state > 0) - (before > 0)  # so that each response asks `closes`
        elif self._affected is None:
            return
        elif name == Action.STOP_CONNECTIONS:
            self._affected.pause(state == 1.0)
        elif name == Action.REDUCE_TIMEOUTS:
            self._affected.look_again()

    def _shrink(self, now: float) -> None:
        if self._states.get(Action.SHRINK_HEAP) == 1.0 and now - self._shrunk >= _SHRINK_EVERY:
            self._shrunk = now
            self._shrink_count.value += 1
            gc.collect()
            trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:  # glibc has it
                trim(0)

    def _drawn(self, name: str) -> bool:
        state = self._states.get(name, 0.0)
        return state > 0 and (state >= 1.0 or self._worker.rng.random() < state)

    def sheds_request(self) -> bool:
        """Whether this request is to be answered with 503 at once."""
        return self._drawn(Action.STOP_REQUESTS) or self._shed(Point.DECODE_HEADERS)

    def rejects_connection(self) -> bool:
        """Whether this connection is to be closed at once."""
        return self._drawn(Action.REJECT_CONNECTIONS) or self._shed(Point.ACCEPT)

    def _shed(self, point: str) -> bool:
        if point not in self._config.points or not self._drawn(point):
            return False
        counter = self._gauges[point].shed
        assert counter is not None
        counter.value += 1
        return True

    def ends_keepalive(self) -> bool:
        """Whether this response is to be its connection's last."""
        return self._drawn(Action.DISABLE_KEEPALIVE)

    def timeout(self, kind: str, configured: float) -> float:
        """A timeout in seconds as it is now; 0 stays 0, for none."""
        scale = self._config.timers.get(kind)
        return configured if scale is None else scale.scaled(configured, self._states.get(Action.REDUCE_TIMEOUTS, 0.0))


class ShedFilter(HttpFilter[None]):
    """First of the filters where requests may be shed: before anybody has spent anything on them."""

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        owner = _stream(stream).owner
        overload = owner.worker.overload
        if overload is None or not overload.sheds_request():
            return None
        owner.manager.stats.rq_overload_close.value += 1
        _stream(stream).forget_route()
        return _TELLING if owner.manager.config.tells_overload else _OVERLOADED


def _stream(stream: Stream) -> HttpServerStream:
    return stream  # type: ignore[return-value]  # a connection manager's filters meet no other streams


def shed_filter(context: FactoryContext) -> FilterSpec:
    """As it stands in a chain."""
    return FilterSpec("envoy.overload", ShedFilter, None, context)
