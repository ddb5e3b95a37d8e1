"""Load reports as messages (envoy.service.load_stats.v3): what `balance.load_window` has, with a cluster's time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from envoy.config.endpoint.v3 import load_report_pb2
from envoy.service.load_stats.v3 import lrs_pb2

from meshproxy.telemetry.address_messages import set_address

SENDS_ALL_CLUSTERS = "envoy.lrs.supports_send_all_clusters"
"""The client's feature on which a server may count."""

Load = tuple[int, int, int, int, Mapping[str, tuple[int, float]]]


class Order:
    """What a server wants to be told. clusters: None for all. interval: seconds between two reports."""

    def __init__(self, data: bytes) -> None:
        """Raises google.protobuf.message.DecodeError."""
        message = lrs_pb2.LoadStatsResponse.FromString(data)
        self.clusters = None if message.send_all_clusters else list(dict.fromkeys(message.clusters))
        self.interval = message.load_reporting_interval.ToMicroseconds() / 1e6
        self.by_endpoint: bool = message.report_endpoint_granularity


def encode_report(
    node: Any,
    loads: Mapping[str, Mapping[str, Any]],
    seconds: Mapping[str, float],
    add: Callable[..., Load],
    *,
    by_endpoint: bool,
) -> bytes:
    """One `LoadStatsRequest`. loads, add: see `balance.load_window`. seconds: the time that each cluster's are of."""
    request = lrs_pb2.LoadStatsRequest(node=node)
    for name, load in loads.items():
        stats = request.cluster_stats.add(cluster_name=name, cluster_service_name=load["service"])
        for (priority, region, zone, sub_zone), hosts in load["places"].items():
            place = stats.upstream_locality_stats.add(priority=priority)
            place.locality.region, place.locality.zone, place.locality.sub_zone = region, zone, sub_zone
            _set_load(place, add(hosts.values()))
            if by_endpoint:
                for address, host in hosts.items():
                    endpoint = place.upstream_endpoint_stats.add()
                    set_address(endpoint.address, address)
                    _set_load(endpoint, host)
        stats.total_dropped_requests = load["dropped"]
        if load["shed"]:
            stats.dropped_requests.add(category=load["category"], dropped_count=load["shed"])
        stats.load_report_interval.FromMicroseconds(int(seconds[name] * 1e6))
    data: bytes = request.SerializeToString()
    return data


def _set_load(
    target: load_report_pb2.UpstreamLocalityStats | load_report_pb2.UpstreamEndpointStats, load: Load
) -> None:
    succeeded, failed, active, begun, metrics = load
    target.total_successful_requests = succeeded
    target.total_error_requests = failed
    target.total_requests_in_progress = active
    target.total_issued_requests = begun
    for name, (count, value) in metrics.items():
        target.load_metric_stats.add(
            metric_name=name, num_requests_finished_with_metric=count, total_metric_value=value
        )
