"""What a cluster may have under way, and how each of its hosts fares, as plain data that can be sent."""

from __future__ import annotations

from typing import Any

from meshproxy.address import PipeAddress
from meshproxy.balance.host import Host
from meshproxy.balance.outlier import EjectionType, OutlierDetector
from meshproxy.model.cluster import CircuitBreakerThresholds
from meshproxy.runtime.upstream.cluster import ActiveCluster

NUMBERS = ("cx_active", "cx_connect_fail", "cx_total", "rq_active", "rq_error", "rq_pending_active", "rq_success",
            "rq_timeout", "rq_total")  # fmt: skip
_LIMITS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")

Status = dict[str, Any]


def cluster_status(cluster: ActiveCluster) -> Status:
    """One cluster of one worker as plain data."""
    config = cluster.config
    return {
        "name": config.name,
        "service_name": cluster.service_name,
        "observability_name": config.alt_stat_name or config.name,
        "overprovisioning_factor": cluster.balancer.overprovisioning_factor,
        "default": _limits(cluster.thresholds("DEFAULT")),
        "high": _limits(cluster.thresholds("HIGH")),
        "outlier": _outlier_status(cluster.outlier.detector) if cluster.outlier is not None else None,
        "hosts": [_host_status(host, cluster) for host in cluster.hosts()],
    }


def _outlier_status(detector: OutlierDetector) -> Status:
    average, threshold = detector.thresholds[EjectionType.SUCCESS_RATE]
    local_average, local_threshold = detector.thresholds[EjectionType.LOCAL_ORIGIN_SUCCESS_RATE]
    return {
        "success_rate_average": average,
        "success_rate_ejection_threshold": threshold,
        "local_origin_success_rate_average": local_average,
        "local_origin_success_rate_ejection_threshold": local_threshold,
    }


def _limits(thresholds: CircuitBreakerThresholds) -> dict[str, int]:
    return {name: getattr(thresholds, name) for name in _LIMITS}


def _host_status(host: Host, cluster: ActiveCluster) -> Status:
    status: Status = {name: getattr(host, name, 0) for name in NUMBERS}
    monitor = cluster.outlier.detector.monitor(host) if cluster.outlier is not None else None
    status.update(
        address=host.text,
        hostname=host.hostname,
        health_flags=host.health_flags,
        health=host.health.name,
        weight=host.weight,
        locality_weight=host.endpoint.locality_weight,
        health_check_port=host.endpoint.health_check_port,
        metadata=host.metadata,
        region=host.locality.region,
        zone=host.locality.zone,
        sub_zone=host.locality.sub_zone,
        canary=host.metadata.get("envoy.lb", {}).get("canary") is True,
        priority=host.priority,
        path=isinstance(host.address, PipeAddress),
        success_rate=monitor.external.rate if monitor is not None else -1.0,
        local_origin_success_rate=monitor.local.rate if monitor is not None else -1.0,
    )
    return status
