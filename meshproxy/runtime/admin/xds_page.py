"""`/meshproxy/xds`: each resource with its version, state, age and last error, and what a refused one would change."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from meshproxy.runtime.admin.legible import legible
from meshproxy.runtime.discovery.engine import Discovery

_CONTEXT = 3


def render(discovery: Discovery, now: float) -> str:
    """JSON. now: wall clock in seconds."""
    shown = {
        "waiting_for": discovery.missing(),
        "sources": discovery.sources.describe(),
        "subscriptions": [_subscription(watch, now) for watch in discovery.hub.watches],
        "resources": list(_resources(discovery, now)),
    }
    return json.dumps(shown, indent=1, ensure_ascii=False) + "\n"


def _subscription(watch: Any, now: float) -> dict[str, Any]:
    state = watch.state
    shown: dict[str, Any] = {
        "type": watch.type_url.rpartition(".")[2],
        "names": list(watch.names) or ["*"],
        "source": watch.source.path or watch.source.kind,
        "version": state.version,
        "settled": watch.settled,
    }
    if state.updated:
        shown["age_seconds"] = round(now - state.updated, 3)
    if state.error:
        shown["last_error"] = state.error
        shown["refused_version"] = state.error_version
    return shown


def _resources(discovery: Discovery, now: float) -> Iterator[dict[str, Any]]:
    clusters, listeners = discovery.clusters, discovery.listeners
    yield from _kind("Cluster", {"active": clusters.active, "warming": clusters.warming}, clusters.refused, now)
    draining = listeners.draining.entries
    states = {"active": listeners.active, "warming": listeners.warming, "draining": draining}
    yield from _kind("Listener", states, listeners.refused, now)
    for provider in discovery.routes.providers.values():
        state = provider.watch.state
        shown: dict[str, Any] = {
            "type": "RouteConfiguration",
            "name": provider.name,
            "state": "active" if provider.resource is not None else "missing",
            "version": state.version,
        }
        if state.updated:
            shown["age_seconds"] = round(now - state.updated, 3)
        good = provider.resource.message if provider.resource is not None else None
        yield shown | _fault(provider.refused, good)


def _kind(kind: str, states: dict[str, Any], refused: dict[str, Any], now: float) -> Iterator[dict[str, Any]]:
    seen = set()
    for state, entries in states.items():
        for name, entry in entries.items():
            seen.add(name)
            yield {
                "type": kind,
                "name": name,
                "state": state,
                "origin": entry.origin,
                "version": entry.version,
                "age_seconds": round(now - entry.updated, 3),
                **(_fault(refused.get(name), entry.message) if state == "active" else {}),
            }
    for name, fault in refused.items():
        if name not in seen:
            yield {"type": kind, "name": name, "state": "refused", **_fault(fault, None)}


def _fault(fault: tuple[Any, str, float] | None, good: Any) -> dict[str, Any]:
    """The last refusal of a resource: why, and how it differs from what is in force."""
    if fault is None:
        return {}
    message, error, _ = fault
    before = _lines(good) if good is not None else []
    difference = difflib.unified_diff(before, _lines(message), "in force", "refused", n=_CONTEXT, lineterm="")
    return {"last_error": error, "difference": list(difference)}


def _lines(message: Any) -> list[str]:
    return json.dumps(legible(message), indent=1, sort_keys=True, ensure_ascii=False).splitlines()
