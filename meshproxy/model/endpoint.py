"""The endpoints of a cluster as the configuration or discovery names them. What a worker learns of them while it runs
(active requests, failures, ejection) lives in `meshproxy.balance.host.Host`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from meshproxy.address import Address, SocketAddress
from meshproxy.records import dataclass


class HealthStatus(Enum):
    """Envoy's `core.v3.HealthStatus`, as discovery reports it."""

    UNKNOWN = 0
    HEALTHY = 1
    UNHEALTHY = 2
    DRAINING = 3
    TIMEOUT = 4
    DEGRADED = 5


@dataclass(frozen=True, slots=True)
class Locality:
    """Where an endpoint runs: Envoy's `core.v3.Locality`."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


NO_LOCALITY = Locality()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that requests can be sent to.

    weight: its share within its locality, 1 or more. hostname: the name it was resolved from, or "".
    locality_weight: the share of its whole locality among those of its priority, 0 when the configuration gives none
    (`LocalityLbEndpoints.load_balancing_weight`); the same for all endpoints of one locality and priority.
    metadata: filter name to fields, such as `envoy.lb` or `envoy.transport_socket_match`.
    more_addresses: of the same endpoint, tried when it can't be reached by `address`.
    health_check_address: where it is checked, None for `address`. health_check_port: 0 for the port of that.
    health_check_hostname: "" for the cluster's own.
    """

    address: Address
    weight: int = 1
    hostname: str = ""
    locality: Locality = NO_LOCALITY
    locality_weight: int = 0
    priority: int = 0
    health_status: HealthStatus = HealthStatus.UNKNOWN
    metadata: Mapping[str, Mapping[str, object]] = field(default_factory=dict, hash=False)
    health_check_port: int = 0
    health_check_hostname: str = ""
    health_check_disabled: bool = False
    health_check_address: Address | None = None
    more_addresses: tuple[SocketAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class DropOverload:
    """How many per cent of the requests are refused to shed load, and why, in a word for load reports."""

    percent: float = 0.0
    category: str = ""


NO_DROPS = DropOverload()


@dataclass(frozen=True, slots=True)
class Assignment:
    """The endpoints of one cluster. localities: how many groups they were given in. stale_after: seconds after which
    they count for nothing unless they come again; 0: never."""

    endpoints: tuple[Endpoint, ...] = ()
    localities: int = 0
    overprovisioning_factor: int = 140
    drop_overload: DropOverload = NO_DROPS
    stale_after: float = 0.0
