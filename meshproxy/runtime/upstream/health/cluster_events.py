"""The files that tell of hosts that are found ill or well, one JSON object a line, worded as Envoy does.

(envoy.data.core.v3.HealthCheckEvent for active checks, envoy.data.cluster.v3.OutlierDetectionEvent for outliers; fields
stand in the order of their numbers.) Lines go through the same files as access logs: gathered, and written at 64 KiB
or after the flush interval.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from meshproxy.address import Address, InternalAddress, PipeAddress
from meshproxy.balance.host import Host
from meshproxy.balance.outlier import EjectionType, HostMonitor, OutlierDetector
from meshproxy.model.health_check import GrpcCheck, HttpCheck, TcpCheck

WriteLine = Callable[[str, str], None]
"""path, line"""

_OUTLIER_TYPES = {
    EjectionType.CONSECUTIVE_5XX: "CONSECUTIVE_5XX",
    EjectionType.CONSECUTIVE_GATEWAY_FAILURE: "CONSECUTIVE_GATEWAY_FAILURE",
    EjectionType.SUCCESS_RATE: "SUCCESS_RATE",
    EjectionType.CONSECUTIVE_LOCAL_ORIGIN_FAILURE: "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
    EjectionType.LOCAL_ORIGIN_SUCCESS_RATE: "SUCCESS_RATE_LOCAL_ORIGIN",
    EjectionType.FAILURE_PERCENTAGE: "FAILURE_PERCENTAGE",
    EjectionType.LOCAL_ORIGIN_FAILURE_PERCENTAGE: "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
}


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as protobuf's JSON form has them, by the millisecond."""
    milliseconds = int(seconds * 1000)
    text = datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{milliseconds % 1000:03}Z" if milliseconds % 1000 else f"{text}Z"


class HealthEvents:
    """The events of the active health checks of one cluster. now: seconds since 1970."""

    def __init__(
        self,
        cluster: str,
        check: HttpCheck | TcpCheck | GrpcCheck,
        paths: Sequence[str],
        write: WriteLine,
        now: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._type = "GRPC" if isinstance(check, GrpcCheck) else "HTTP" if isinstance(check, HttpCheck) else "TCP"
        self._paths = paths
        self._write = write
        self._now = now

    def ejected(self, host: Host, failure: str, status: int) -> None:
        """failure: a `HealthCheckFailureType`. status: of HTTP, 0 for none."""
        self._log(host, eject_unhealthy_event={"failure_type": failure, "http_status_code": status})

    def added(self, host: Host, *, first: bool) -> None:
        """The host counts as well from now on."""
        self._log(host, add_healthy_event={"first_check": first})

    def failed(self, host: Host, failure: str, status: int, *, first: bool) -> None:
        """A check failed, whatever comes of it."""
        event = {"failure_type": failure, "first_check": first, "http_status_code": status}
        self._log(host, late=("health_check_failure_event", event))

    def succeeded(self, host: Host) -> None:
        """A check succeeded that changed nothing."""
        self._log(host, last=("successful_health_check_event", {}))

    def degraded(self, host: Host, now: bool) -> None:
        """The host says that it is degraded (now), or no longer."""
        self._log(host, late=("degraded_healthy_host" if now else "no_longer_degraded_host", {}))

    def _log(
        self,
        host: Host,
        late: tuple[str, dict[str, Any]] | None = None,
        last: tuple[str, dict[str, Any]] | None = None,
        **early: dict[str, Any],
    ) -> None:
        event: dict[str, Any] = {
            "health_checker_type": self._type,
            "host": _address(host.address),
            "cluster_name": self._cluster,
            **early,
            "timestamp": timestamp(self._now()),
        }
        if late is not None:
            event[late[0]] = late[1]
        if host.metadata:
            event["metadata"] = {"filter_metadata": _plain(host.metadata), "typed_filter_metadata": {}}
        where = host.locality
        event["locality"] = {"region": where.region, "zone": where.zone, "sub_zone": where.sub_zone}
        if last is not None:
            event[last[0]] = last[1]
        for path in self._paths:
            self._write(path, _line(event))


class OutlierEvents:
    """The ejections of one cluster (`cluster_manager.outlier_detection.event_log_path`). wall: seconds since 1970."""

    def __init__(self, cluster: str, path: str, write: WriteLine, wall: Callable[[], float]) -> None:
        self._cluster = cluster
        self._path = path
        self._write = write
        self._wall = wall

    def ejected(
        self,
        detector: OutlierDetector,
        host: Host,
        monitor: HostMonitor,
        kind: EjectionType,
        enforced: bool,
        now: float,
    ) -> None:
        """A host was found out; enforced: and was ejected. now: monotonic seconds."""
        event = self._event(_OUTLIER_TYPES[kind], host, monitor, monitor.unejected_at, now, "EJECT", enforced)
        if kind in (EjectionType.SUCCESS_RATE, EjectionType.LOCAL_ORIGIN_SUCCESS_RATE):
            average, threshold = detector.thresholds[kind]
            rates = monitor.external if kind is EjectionType.SUCCESS_RATE else monitor.local
            event["eject_success_rate_event"] = {
                "host_success_rate": int(rates.rate),
                "cluster_average_success_rate": int(average),
                "cluster_success_rate_ejection_threshold": int(threshold),
            }
        elif kind in (EjectionType.FAILURE_PERCENTAGE, EjectionType.LOCAL_ORIGIN_FAILURE_PERCENTAGE):
            rates = monitor.external if kind is EjectionType.FAILURE_PERCENTAGE else monitor.local
            event["eject_failure_percentage_event"] = {"host_success_rate": int(rates.rate)}
        else:
            event["eject_consecutive_event"] = {}
        self._write(self._path, _line(event))

    def unejected(self, host: Host, monitor: HostMonitor, now: float) -> None:
        """A host is back. Envoy prints the first type there is for want of any."""
        event = self._event("CONSECUTIVE_5XX", host, monitor, monitor.ejected_at, now, "UNEJECT", False)
        self._write(self._path, _line(event))

    def _event(
        self, kind: str, host: Host, monitor: HostMonitor, since: float, now: float, action: str, enforced: bool
    ) -> dict[str, Any]:
        event: dict[str, Any] = {"type": kind, "timestamp": timestamp(self._wall())}
        if since:
            event["secs_since_last_action"] = str(int(now - since))
        event["cluster_name"] = self._cluster
        event["upstream_url"] = host.text
        event["action"] = action
        event["num_ejections"] = monitor.ejections
        event["enforced"] = enforced
        return event


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=True) + "\n"


def _address(address: Address) -> dict[str, Any]:
    if isinstance(address, PipeAddress):
        return {"pipe": {"path": address.path, "mode": 0}}
    if isinstance(address, InternalAddress):
        internal = {"server_listener_name": address.listener, "endpoint_id": address.endpoint_id}
        return {"envoy_internal_address": internal}
    return {
        "socket_address": {
            "protocol": "TCP",
            "address": address.ip,
            "port_value": address.port,
            "resolver_name": "",
            "ipv4_compat": False,
            "network_namespace_filepath": "",
        }
    }


def _plain(value: Any) -> Any:
    """Metadata as protobuf's JSON form has it: whole numbers without a fraction."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
