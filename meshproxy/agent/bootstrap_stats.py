"""The part of the bootstrap about statistics: how their names are taken apart, `proxyStatsMatcher` and the pod's
annotations about them, and the server of statsd that `statsdUdpAddress` names.

Without any of the latter every statistic is kept and nobody is sent them. Names are taken apart into Istio's labels
and not into Envoy's, which end at a dot: clusters are named after hosts here. istiod ends such a name with ";" since
1.24; before that a cluster's was known by `.svc.cluster.local`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

_PREFIX = "sidecar.istio.io/stats"
_LISTENER = r"[\d._]+|\[[\da-fA-F_:]*\]_\d+"
_TAGS = (
    ("cluster_name", r"^cluster(\.(.+);)"),
    ("cluster_name", r"^cluster\.((.+?(?:\..+?\.svc\.cluster\.local)?)\.)"),
    ("http_conn_manager_prefix", r"^http(\.(.+);)"),
    ("http_conn_manager_prefix", rf"^http\.(({_LISTENER})\.)"),
    ("http_conn_manager_listener_prefix", rf"^listener\..*?\.http\.(({_LISTENER});?\.)"),
    ("listener_address", rf"^listener\.(({_LISTENER})\.)"),
    ("tcp_prefix", r"^tcp\.((.*?)\.)\w+?$"),
    ("response_code", r"_rq(_(\d{3}))$"),
    ("response_code_class", r"_rq(_(\dxx))$"),
    ("mongo_prefix", r"^mongo\.(.+?)\.(?:collection|cmd|cx_|op_|delays_|decoding_)"),
)
"""Istio's labels of Envoy's statistics. Of two of one name the first that matches counts."""
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
    """What of `stats_config` was asked for."""
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


def istio_labels() -> dict[str, Any]:
    """The part of `stats_config` that takes names apart as Istio's does."""
    return {
        "use_all_default_tags": False,
        "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in _TAGS],
    }


def statsd_sink(host: str, port: int) -> dict[str, Any]:
    """A sink that sends datagrams of statsd."""
    address = {"socket_address": {"protocol": "UDP", "address": host, "port_value": port}}
    config = {"@type": "type.googleapis.com/envoy.config.metrics.v3.StatsdSink", "address": address}
    return {"name": "envoy.stat_sinks.statsd", "typed_config": config}
