"""The overload manager (envoy.config.overload.v3.OverloadManager) and the older limit of the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.config.values.context import CompileContext
from meshproxy.model.overload import Action, Monitor, OverloadConfig, Point, TimerScale, Trigger
from meshproxy.plugin.view import ConfigView, TypedView
from meshproxy.runtime_values import Live
from meshproxy.suggest import unsupported_extension

_CONNECTIONS_KEY = "overload.global_downstream_max_connections"
_CONNECTIONS_NAME = "envoy.resource_monitors.global_downstream_max_connections"
_MONITORS = "envoy.extensions.resource_monitors"
_HEAP = f"{_MONITORS}.fixed_heap.v3.FixedHeapConfig"
_CGROUP = f"{_MONITORS}.cgroup_memory.v3.CgroupMemoryConfig"
_CPU = f"{_MONITORS}.cpu_utilization.v3.CpuUtilizationConfig"
_FILE = f"{_MONITORS}.injected_resource.v3.InjectedResourceConfig"
_CONNECTIONS = f"{_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig"
_TIMERS = "envoy.config.overload.v3.ScaleTimersOverloadActionConfig"
_HIGH_MEMORY = "envoy.overload_actions.reset_high_memory_stream"
_SCALED = ("HTTP_DOWNSTREAM_CONNECTION_IDLE", "HTTP_DOWNSTREAM_STREAM_IDLE")
# Points of Envoy's that have no place here yet. Names that it doesn't know either have no effect, as there.
_FOREIGN_POINTS = frozenset(
    f"envoy.load_shed_points.{name}"
    for name in (
        *("http1_server_abort_dispatch", "http2_server_go_away_on_dispatch", "hcm_ondata_creating_codec"),
        *("http2_server_go_away_and_close_on_dispatch", "http3_server_go_away_and_close_on_dispatch"),
        "http_downstream_filter_check",
        *("connection_pool_new_connection", "quic_server_connection"),
    )
)  # fmt: skip
UNLIMITED = (1 << 31) - 1
"""Istio's value for "no limit"; more connections than that nobody has."""


def compile_overload(view: ConfigView | None, context: CompileContext) -> OverloadConfig | None:
    """None when nothing is to be watched. Problems are noted in the context."""
    if view is None:
        return None
    found: dict[str, Any] = {}
    with view.collect(context.problems):
        found = _compile(view, context)
    return OverloadConfig(**found) if found else None


def compile_connection_limit(context: CompileContext) -> Live[int] | None:
    """How many connections from clients there may be by the runtime, which a resource monitor has precedence over.

    None: there never will be such a limit.
    """
    watched = context.overload is not None and context.overload.max_connections is not None
    runtime = context.runtime
    if watched or (runtime.fixed and _CONNECTIONS_KEY not in runtime):
        return None
    limit = runtime.integer(_CONNECTIONS_KEY, UNLIMITED)
    return None if runtime.fixed and limit.value >= UNLIMITED else limit


def _compile(view: ConfigView, context: CompileContext) -> dict[str, Any]:
    monitors: list[Monitor] = []
    limit, connections_name = None, ""
    names: set[str] = set()
    for entry in view.views("resource_monitors"):
        name = entry.text("name")
        if name in names:
            entry.fail(f"Duplicate resource monitor {name}", "name")
        names.add(name)
        typed = entry.any("typed_config")
        if typed is None:
            entry.fail("'typed_config' is required: a monitor is found by the type of its configuration")
        if typed.full_name == _CONNECTIONS and typed.view is not None:
            if name != _CONNECTIONS_NAME:
                entry.fail(f"a monitor of this type must have the name {_CONNECTIONS_NAME}", "name")
            limit, connections_name = typed.view.integer("max_active_downstream_connections"), name
        else:
            monitors.append(_monitor(name, typed))
    buffers = view.view("buffer_factory_config")
    if buffers is not None:
        buffers.integer("minimum_account_to_track_power_of_two")  # matters to an action that is refused
    actions: dict[str, tuple[Trigger, ...]] = {}
    timers: dict[str, TimerScale] = {}
    for entry in view.views("actions"):
        name = _action_name(entry, actions)
        actions[name] = _triggers(entry, names, f"overload action {name}")
        scale = entry.any("typed_config")
        if (scale is not None) != (name == Action.REDUCE_TIMEOUTS):
            conflict = "conflicts with its typed config" if scale else "requires a typed config"
            entry.fail(f'Overload action name "{name}" {conflict}', "name")
        if scale is not None:
            timers = _timers(scale.message(_TIMERS))
    points = {}
    for entry in view.views("loadshed_points"):
        name = entry.text("name")
        if name in points:
            entry.fail(f"Duplicate loadshed point {name}", "name")
        if name in _FOREIGN_POINTS:
            entry.fail(f"the load shed point {name} isn't supported by meshproxy; {' and '.join(Point)} are", "name")
        points[name] = _triggers(entry, names, f"loadshed point {name}")
    return {
        "refresh_interval": view.seconds("refresh_interval", 1.0),
        "monitors": tuple(monitors),
        "actions": actions,
        "points": points,
        "timers": timers,
        "max_connections": limit,
        "connections_name": connections_name,
    }


def _monitor(name: str, typed: TypedView) -> Monitor:
    view = typed.view
    if view is None:
        typed.fail(unsupported_extension(typed.full_name, (_HEAP, _CGROUP, _CPU, _FILE, _CONNECTIONS)))
    if typed.full_name == _HEAP:
        return Monitor(name, "heap", limit=view.integer("max_heap_size_bytes"))
    if typed.full_name == _CGROUP:
        return Monitor(name, "cgroup_memory", limit=view.integer("max_memory_bytes"))
    if typed.full_name == _CPU:
        return Monitor(name, "cpu", container=view.enum("mode") == "CONTAINER")
    if typed.full_name == _FILE:
        return Monitor(name, "file", path=view.text("filename"))
    typed.fail(unsupported_extension(typed.full_name, (_HEAP, _CGROUP, _CPU, _FILE, _CONNECTIONS)))


def _action_name(entry: ConfigView, actions: Mapping[str, Any]) -> str:
    name = entry.text("name")
    if name in actions:
        entry.fail(f"Duplicate overload action {name}", "name")
    if name == _HIGH_MEMORY:
        entry.fail(f"the action {name} isn't supported by meshproxy: it keeps no accounts of buffers", "name")
    if name not in set(Action):
        entry.fail(f"Unknown Overload Manager Action {name}", "name")
    return name


def _triggers(view: ConfigView, monitors: set[str], what: str) -> tuple[Trigger, ...]:
    triggers: list[Trigger] = []
    for entry in view.views("triggers"):
        name = entry.text("name")
        if name not in monitors:
            entry.fail(f"Unknown trigger resource {name} for {what}", "name")
        if any(trigger.resource == name for trigger in triggers):
            entry.fail(f"Duplicate trigger resource for {what}", "name")
        if entry.which("trigger_oneof") == "threshold":
            value = entry.required("threshold").number("value")
            triggers.append(Trigger(name, value, value))
            continue
        scaled = entry.required("scaled")
        start, full = scaled.number("scaling_threshold"), scaled.number("saturation_threshold")
        if start >= full:
            scaled.fail("scaling_threshold must be less than saturation_threshold", "scaling_threshold")
        triggers.append(Trigger(name, start, full))
    return tuple(triggers)


def _timers(view: ConfigView) -> dict[str, TimerScale]:
    timers: dict[str, TimerScale] = {}
    for entry in view.views("timer_scale_factors"):
        kind = entry.enum("timer")
        if kind in timers:
            entry.fail(f"Found duplicate entry for timer type {kind}", "timer")
        if kind not in _SCALED:
            entry.fail(f"only {' and '.join(_SCALED)} are scaled by meshproxy", "timer")
        if entry.which("overload_adjust") == "min_timeout":
            timers[kind] = TimerScale(minimum=entry.seconds("min_timeout", 0.0))
        else:
            timers[kind] = TimerScale(share=entry.required("min_scale").number("value") / 100)
    return timers
