"""The part of the bootstrap about statistics: `proxyStatsMatcher` and the pod's annotations about them, and the server
of statsd that `statsdUdpAddress` names.

Without any of these every statistic is kept and nobody is sent them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

_PREFIX = "sidecar.istio.io/stats"
_KINDS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "inclusionPrefixes": lambda value: {"prefix": value},
    "inclusionSuffixes": lambda value: {"suffix": value},
    "inclusionRegexps": lambda value: {"safe_regex": {"regex": value}},
}
_NEEDED = ("cluster_manager", "listener_manager", "server", "listener.", "istio")
"""What the agent itself reads, and Istio's own."""


def read_inclusions(matcher: Mapping[str, Any], annotations: Mapping[str, str]) -> dict[str, list[str]]:
    """What is included beside what is needed, as `proxyStatsMatcher` has it; an annotation wins. Raises ValueError."""
    found: dict[str, list[str]] = {}
    for kind in _KINDS:
        given = annotations.get(f"{_PREFIX}I{kind[1:]}")
        if given is not None:
            found[kind] = [part for part in given.split(",") if part]
        elif matcher.get(kind):
            if not isinstance(matcher[kind], list):
                raise ValueError(f"{kind} is not a list")
            found[kind] = [str(part) for part in matcher[kind]]
    return found


def read_buckets(annotations: Mapping[str, str]) -> dict[str, list[float]]:
    """Buckets of histograms by the prefixes of their names (`statsHistogramBuckets`). Raises ValueError."""
    text = annotations.get(f"{_PREFIX}HistogramBuckets", "")
    given = json.loads(text) if text else {}
    if not isinstance(given, dict):
        raise ValueError("is not a mapping of prefixes")
    return {prefix: [float(bound) for bound in bounds] for prefix, bounds in given.items()}


def stats_config(inclusions: Mapping[str, list[str]], buckets: Mapping[str, list[float]]) -> dict[str, Any]:
    """`stats_config` of the bootstrap; empty for what is usual."""
    config: dict[str, Any] = {}
    if inclusions:
        patterns = [{"prefix": prefix} for prefix in _NEEDED]
        patterns += [_KINDS[kind](value) for kind, values in inclusions.items() for value in values]
        config["stats_matcher"] = {"inclusion_list": {"patterns": patterns}}
    if buckets:
        config["histogram_bucket_settings"] = [
            {"match": {"prefix": prefix}, "buckets": bounds} for prefix, bounds in buckets.items()
        ]
    return config


def statsd_sink(host: str, port: int) -> dict[str, Any]:
    """A sink that sends datagrams of statsd."""
    address = {"socket_address": {"protocol": "UDP", "address": host, "port_value": port}}
    config = {"@type": "type.googleapis.com/envoy.config.metrics.v3.StatsdSink", "address": address}
    return {"name": "envoy.stat_sinks.statsd", "typed_config": config}
