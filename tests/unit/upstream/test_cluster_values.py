"""What the runtime says of clusters: limits, outliers, and that what is under way counts on."""

from __future__ import annotations

from typing import Any

from meshproxy.balance.breaker import CircuitBreaker
from meshproxy.model.cluster import CircuitBreakerThresholds
from meshproxy.model.outlier import OutlierDetection
from meshproxy.runtime.upstream.cluster_values import outlier_in_force, thresholds_in_force

CONFIGURED = CircuitBreakerThresholds(max_connections=7, track_remaining=True)


def _thresholds(values: dict[str, Any], configured: CircuitBreakerThresholds = CONFIGURED) -> CircuitBreakerThresholds:
    return thresholds_in_force(configured, "a.b", "HIGH", values)


def test_limits_of_a_cluster_and_a_priority() -> None:
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries", "max_connection_pools")
    found = _thresholds({f"circuit_breakers.a.b.high.{name}": number for number, name in enumerate(names)})
    assert [getattr(found, name) for name in names] == [0, 1, 2, 3, 4]
    assert found.track_remaining
    assert found.retry_budget_percent is None


def test_values_of_others_change_nothing() -> None:
    others = ("circuit_breakers.a.b.default.max_requests", "circuit_breakers.a.high.max_requests", "max_requests")
    assert _thresholds(dict.fromkeys(others, 1)) is CONFIGURED
    assert _thresholds({"circuit_breakers.a.b.high.max_requests": "many"}) == CONFIGURED


def test_a_budget_comes_to_be_by_the_runtime() -> None:
    key = "circuit_breakers.a.b.high.retry_budget."
    by_percent = _thresholds({f"{key}budget_percent": 12.5})
    assert (by_percent.retry_budget_percent, by_percent.retry_budget_min_concurrency) == (12.5, 3)
    by_least = _thresholds({f"{key}min_retry_concurrency": 9})
    assert (by_least.retry_budget_percent, by_least.retry_budget_min_concurrency) == (20.0, 9)
    configured = CircuitBreakerThresholds(retry_budget_percent=50.0, retry_budget_min_concurrency=1)
    both = _thresholds({f"{key}min_retry_concurrency": 9}, configured)
    assert (both.retry_budget_percent, both.retry_budget_min_concurrency) == (50.0, 9)


def test_breakers_settle_anew_with_what_they_hold() -> None:
    breaker = CircuitBreaker(CircuitBreakerThresholds(max_requests=5, max_retries=3))
    for _ in range(3):
        assert breaker.requests.try_acquire()
        assert breaker.retries.try_acquire()
    assert not breaker.retries.try_acquire()
    breaker.settle(CircuitBreakerThresholds(max_requests=3, max_retries=4))
    assert not breaker.requests.try_acquire()
    assert breaker.retries.try_acquire()
    breaker.settle(CircuitBreakerThresholds(retry_budget_percent=100.0, retry_budget_min_concurrency=0))
    assert (breaker.retries.active, breaker.retries.limit) == (4, 3)
    for _ in range(4):
        breaker.retries.release()
    assert breaker.retries.active == 0


def test_outliers() -> None:
    configured = OutlierDetection(interval=5.0)
    assert outlier_in_force(configured, {"outlier_detection.none": 1}) is configured
    found = outlier_in_force(
        configured,
        {
            "outlier_detection.consecutive_5xx": 2,
            "outlier_detection.interval_ms": 250,
            "outlier_detection.max_ejection_time_ms": 1000,
            "outlier_detection.enforcing_success_rate": "no number",
            "outlier_detection.always_eject_one_host": 1,  # a key that Envoy doesn't have
        },
    )
    assert (found.consecutive_5xx, found.interval, found.max_ejection_time) == (2, 0.25, 1.0)
    assert found.enforcing_success_rate == 100
    assert not found.always_eject_one_host
