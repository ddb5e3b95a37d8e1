"""How a cluster finds out which of its hosts misbehave."""

from __future__ import annotations

from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """Envoy's `cluster.v3.OutlierDetection`, with its defaults. Times in seconds, percentages 0-100.

    enforcing_*: in how many per cent of the cases a detected outlier is really ejected.
    success_rate_stdev_factor: standard deviations times 1000.
    max_ejection_time: None for 300 s or `base_ejection_time`, whichever is longer.
    max_ejection_percent: with few hosts that can mean none at all, unless `always_eject_one_host` is set.
    """

    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    consecutive_local_origin_failure: int = 5
    interval: float = 10.0
    base_ejection_time: float = 30.0
    max_ejection_time: float | None = None
    max_ejection_time_jitter: float = 0.0
    max_ejection_percent: int = 10
    always_eject_one_host: bool = False
    enforcing_consecutive_5xx: int = 100
    enforcing_consecutive_gateway_failure: int = 0
    enforcing_consecutive_local_origin_failure: int = 100
    enforcing_success_rate: int = 100
    enforcing_local_origin_success_rate: int = 100
    enforcing_failure_percentage: int = 0
    enforcing_failure_percentage_local_origin: int = 0
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: int = 1900
    failure_percentage_threshold: int = 85
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    split_external_local_origin_errors: bool = False
    successful_active_health_check_uneject_host: bool = True
