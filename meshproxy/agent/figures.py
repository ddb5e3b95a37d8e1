"""The agent's own metrics, under pilot-agent's names: numbers that are counted, and values that are read when asked.

All are known from the start, at zero, so that a rate over one of them has a beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_PREFIX = "istio_agent_"
_COUNTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "scrapes_total": ("How many scrapes there were.", "", ()),
    "scrape_failures_total": ("How many scrapes of a source failed.", "type", ("envoy", "application", "agent")),
    "xds_proxy_requests": ("How many requests for configuration the proxy has made.", "", ()),
    "xds_proxy_responses": ("How many responses it was given.", "", ()),
    "istiod_connection_failures": ("How many connections to the control plane failed.", "", ()),
    "istiod_connection_terminations": ("How many of its streams the control plane has ended.", "", ()),
    "envoy_connection_terminations": ("How many of its streams the proxy has ended.", "", ()),
    "num_outgoing_requests": ("How often a certificate was asked for.", "request_type", ("csr",)),
    "num_failed_outgoing_requests": ("How often none was given.", "request_type", ("csr",)),
}
"""What each counts, and the label that it has, with its values."""

_GAUGES = {
    "ready": "Whether the proxy is ready.",
    "cert_expiry_seconds": "How long the workload's certificate is valid.",
    "startup_duration_seconds": "How long it took until the proxy was ready.",
}
_READ_COUNTERS = {
    "dns_requests_total": "How many names were asked for.",
    "dns_upstream_requests_total": "How many of them were asked for elsewhere.",
    "dns_upstream_failures_total": "How many of those had no answer.",
}


class Figures:
    """Counts, and who knows the rest."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {
            (name, value): 0 for name, (_, _, values) in _COUNTERS.items() for value in values or ("",)
        }
        self._read: dict[str, Callable[[], float | None]] = {}

    def add(self, name: str, value: str = "") -> None:
        """Count one. value: of the label, for what has one."""
        self._counts[name, value] += 1

    def read(self, name: str, ask: Callable[[], float | None]) -> None:
        """`ask` gives a gauge, or a counter that somebody else keeps; None while there is none."""
        assert name in _GAUGES or name in _READ_COUNTERS, name
        self._read[name] = ask

    def render(self) -> bytes:
        """Prometheus' text."""
        lines: list[str] = []
        for name, (told, label, values) in _COUNTERS.items():
            lines += _head(name, told, "counter")
            for value in values or ("",):
                labels = f'{{{label}="{value}"}}' if label else ""
                lines.append(f"{_PREFIX}{name}{labels} {self._counts[name, value]}")
        for known, kind in ((_GAUGES, "gauge"), (_READ_COUNTERS, "counter")):
            for name, told in known.items():
                value_now = self._read[name]() if name in self._read else None
                if value_now is not None:
                    lines += [*_head(name, told, kind), f"{_PREFIX}{name}{_LABELS.get(name, '')} {_number(value_now)}"]
        return ("\n".join(lines) + "\n").encode()


_LABELS = {"cert_expiry_seconds": '{resource_name="default"}'}


def _head(name: str, told: str, kind: str) -> list[str]:
    return [f"# HELP {_PREFIX}{name} {told}", f"# TYPE {_PREFIX}{name} {kind}"]


def _number(value: Any) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3f}"
