"""`/clusters`: what each cluster may have under way, and how each of its hosts fares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from meshproxy.address import parse_address, parse_internal
from meshproxy.in_parts import encoded_in_parts
from meshproxy.runtime.admin.listeners import internal_json
from meshproxy.runtime.admin.message import json_parts
from meshproxy.runtime.upstream.cluster_status import NUMBERS, Status

_COUNTERS = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
_GAUGES = ("cx_active", "rq_active", "rq_pending_active")
_FLAG_NAMES = {
    "failed_active_hc": "failed_active_health_check",
    "failed_outlier_check": "failed_outlier_check",
    "degraded_active_hc": "failed_active_degraded_check",
    "pending_dynamic_removal": "pending_dynamic_removal",
    "pending_active_hc": "pending_active_hc",
    "excluded_via_immediate_hc_fail": "excluded_via_immediate_hc_fail",
    "active_hc_timeout": "active_hc_timeout",
}


def merge_statuses(workers: Sequence[list[Status]]) -> list[Status]:
    """The clusters of several workers as those of one: numbers are added, and a host is as ill as any worker finds."""
    if len(workers) == 1:
        return workers[0]
    merged: dict[str, Status] = {}
    for statuses in workers:
        for status in statuses:
            known = merged.setdefault(status["name"], {**status, "hosts": []})
            by_address = {host["address"]: host for host in known["hosts"]}
            for host in status["hosts"]:
                other = by_address.get(host["address"])
                if other is None:
                    known["hosts"].append(dict(host))
                    continue
                for name in NUMBERS:
                    other[name] += host[name]
                if other["health_flags"] == "healthy":
                    other["health_flags"], other["health"] = host["health_flags"], host["health"]
    return list(merged.values())


def render_text(statuses: Iterable[Status], wanted: Callable[[str], bool]) -> list[bytes]:
    """As `/clusters` prints them."""
    lines = []
    for status in statuses:
        name = status["name"]
        if not wanted(name):
            continue
        lines.append(f"{name}::observability_name::{status['observability_name']}")
        lines += [f"{name}::outlier::{key}::{value:g}" for key, value in (status["outlier"] or {}).items()]
        for priority in ("default", "high"):
            lines += [f"{name}::{priority}_priority::{limit}::{value}" for limit, value in status[priority].items()]
        lines.append(f"{name}::added_via_api::{str(status.get('by_discovery', False)).lower()}")
        for host in status["hosts"]:
            lines += [f"{name}::{host['address']}::{key}::{value}" for key, value in _host_lines(host)]
    return encoded_in_parts(f"{line}\n" for line in lines)


def _host_lines(host: Status) -> list[tuple[str, Any]]:
    return [
        *((name, host[name]) for name in NUMBERS),
        *((name, host[name]) for name in ("hostname", "health_flags", "weight", "region", "zone", "sub_zone")),
        ("canary", str(host["canary"]).lower()),
        ("priority", host["priority"]),
        ("success_rate", _number(host["success_rate"])),
        ("local_origin_success_rate", _number(host["local_origin_success_rate"])),
    ]


def render_json(statuses: Iterable[Status], wanted: Callable[[str], bool]) -> list[bytes]:
    """As `/clusters?format=json` prints them (envoy.admin.v3.Clusters; what is empty is left out)."""
    return json_parts({"cluster_statuses": [_cluster_json(s) for s in statuses if wanted(s["name"])]})


def _cluster_json(status: Status) -> Status:
    shown: Status = {"name": status["name"]}
    if status.get("by_discovery"):
        shown["added_via_api"] = True
    outlier = status["outlier"] or {}
    if outlier and outlier["success_rate_ejection_threshold"] >= 0:
        shown["success_rate_ejection_threshold"] = _percent(outlier["success_rate_ejection_threshold"])
    if status["hosts"]:
        shown["host_statuses"] = [_host_json(host) for host in status["hosts"]]
    shown["circuit_breakers"] = {"thresholds": [status["default"], {"priority": "HIGH", **status["high"]}]}
    shown["observability_name"] = status["observability_name"]
    local = outlier.get("local_origin_success_rate_ejection_threshold", -1)
    if local >= 0:
        shown["local_origin_success_rate_ejection_threshold"] = _percent(local)
    return shown


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _percent(value: float) -> Status:
    return {"value": _number(value)}


def address_json(text: str, path: bool = False) -> Status:
    """envoy.config.core.v3.Address."""
    if path:
        return {"pipe": {"path": text}}
    internal = parse_internal(text)
    if internal is not None:
        return internal_json(internal)
    address = parse_address(text)
    return {"socket_address": {"address": address.ip, "port_value": address.port}}


def _host_json(host: Status) -> Status:
    stats = [{"value": str(host[name]), "name": name} if host[name] else {"name": name} for name in _COUNTERS]
    for name in _GAUGES:
        value = {"value": str(host[name])} if host[name] else {}
        stats.append({"type": "GAUGE", **value, "name": name})
    flags = host["health_flags"].strip("/").split("/")
    health: Status = {_FLAG_NAMES[flag]: True for flag in flags if flag in _FLAG_NAMES}
    eds = {"failed_eds_health": "UNHEALTHY", "degraded_eds_health": "DEGRADED", "eds_status_draining": "DRAINING"}
    health["eds_health_status"] = next((eds[flag] for flag in flags if flag in eds), "HEALTHY")
    shown: Status = {
        "address": address_json(host["address"], host["path"]),
        "stats": stats,
        "health_status": health,
    }
    if host["success_rate"] >= 0:
        shown["success_rate"] = _percent(host["success_rate"])
    shown["weight"] = host["weight"]
    if host["hostname"]:
        shown["hostname"] = host["hostname"]
    if host["priority"]:
        shown["priority"] = host["priority"]
    if host["local_origin_success_rate"] >= 0:
        shown["local_origin_success_rate"] = _percent(host["local_origin_success_rate"])
    shown["locality"] = {name: host[name] for name in ("region", "zone", "sub_zone") if host[name]}
    return shown
