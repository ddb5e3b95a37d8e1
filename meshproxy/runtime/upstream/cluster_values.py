"""What the runtime says of clusters, under Envoy's keys ("Runtime" in the chapters on circuit breaking and outliers).

Numbers of a cluster's configuration with those of the runtime in their place. Whoever lives by them follows the values
(`RuntimeValues.follow`) and takes what these functions give; where the runtime says nothing it is the same object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from meshproxy.model.cluster import CircuitBreakerThresholds
from meshproxy.model.outlier import OutlierDetection
from meshproxy.runtime_values import as_integer, as_number

_THRESHOLDS = ("max_connections", "max_pending_requests", "max_requests", "max_retries", "max_connection_pools")
_BUDGET_PERCENT = 20.0
_OUTLIER_NUMBERS = tuple(
    name
    for name, default in ((field, getattr(OutlierDetection(), field)) for field in OutlierDetection.__slots__)
    if type(default) is int
)
_OUTLIER_TIMES = ("interval", "base_ejection_time", "max_ejection_time", "max_ejection_time_jitter")


def thresholds_in_force(
    configured: CircuitBreakerThresholds, cluster: str, priority: str, values: Mapping[str, Any]
) -> CircuitBreakerThresholds:
    """`circuit_breakers.<cluster>.<priority>.*`. priority: DEFAULT or HIGH."""
    prefix = f"circuit_breakers.{cluster}.{priority.lower()}."
    if not any(key.startswith(prefix) for key in values):
        return configured
    changes: dict[str, Any] = {}
    for name in _THRESHOLDS:
        changes[name] = as_integer(values.get(prefix + name), getattr(configured, name))
    percent_key, least_key = f"{prefix}retry_budget.budget_percent", f"{prefix}retry_budget.min_retry_concurrency"
    if percent_key in values or least_key in values or configured.retry_budget_percent is not None:
        percent = configured.retry_budget_percent
        changes["retry_budget_percent"] = as_number(
            values.get(percent_key), _BUDGET_PERCENT if percent is None else percent
        )
        changes["retry_budget_min_concurrency"] = as_integer(
            values.get(least_key), configured.retry_budget_min_concurrency
        )
    return replace(configured, **changes)


def outlier_in_force(configured: OutlierDetection, values: Mapping[str, Any]) -> OutlierDetection:
    """`outlier_detection.*`, for all clusters alike; times are in milliseconds there."""
    changes: dict[str, Any] = {}
    for name in _OUTLIER_NUMBERS:
        value = values.get(f"outlier_detection.{name}")
        if value is not None:
            changes[name] = as_integer(value, getattr(configured, name))
    for name in _OUTLIER_TIMES:
        milliseconds = as_integer(values.get(f"outlier_detection.{name}_ms"), -1)
        if milliseconds >= 0:
            changes[name] = milliseconds / 1000.0
    return replace(configured, **changes) if changes else configured
