"""Endpoints of the common shape, read in bulk.

A mesh has tens of thousands of endpoints, and nearly all of them say the same few things: an IP address with a port, a
weight, a health status, metadata. Reading each of their five messages through a view, and checking each against the
API's rules before, takes ten times as long as looking at what is set and taking it.

`plain_assignment` does that. It knows the fields that it reads, and nothing else may be set: whatever is out of the
ordinary, and whatever is wrong, makes it give up (None), and the assignment is read through views, which know all there
is to know and name the place of every fault. So what it accepts is exactly what the long way accepts, with the same
result, and within the API's rules (`validate.rules`); a test holds the two against each other.

Most of these again have an IPv4 address and nothing else that is their own: packed, they begin with a head of some 20
bytes whose every byte is known but for address and port, and what follows is what their neighbours say too, read once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from meshproxy.address import IPV4_PATTERN, SocketAddress, canonical_ip
from meshproxy.model.endpoint import NO_LOCALITY, Assignment, Endpoint, HealthStatus, Locality
from meshproxy.plugin.struct_view import plain_struct

_DEFAULT_OVERPROVISIONING = 140
_HIGHEST_PRIORITY = 128
_STATUSES = {status.value: status for status in HealthStatus}
_Metadata = Mapping[str, Mapping[str, object]]
_NO_METADATA: _Metadata = {}

# LbEndpoint{1: Endpoint{1: Address{1: SocketAddress{2: address, 3: port_value}}}}, each with its length before it.
_HEAD = re.compile(rb"\n(.)\n(.)\n(.)\x12(.)(%b)\x18([\x80-\xff]{0,2}[\x01-\x7f])" % IPV4_PATTERN.encode(), re.DOTALL)


class _OutOfTheOrdinary(Exception):
    """To be read the long way."""


class _Traits(NamedTuple):
    """What is said of an endpoint beside its address."""

    weight: int
    status: HealthStatus
    metadata: _Metadata


def plain_assignment(message: Any) -> Assignment | None:
    """A `ClusterLoadAssignment` of the common shape; None for any other."""
    try:
        return _assignment(message)
    except _OutOfTheOrdinary:
        return None


def _assignment(message: Any) -> Assignment:
    factor = _DEFAULT_OVERPROVISIONING
    groups: Any = ()
    named = False
    for field, value in message.ListFields():
        match field.name:
            case "cluster_name":
                named = True
            case "endpoints":
                groups = value
            case "policy":
                factor = _overprovisioning(value)
            case _:
                raise _OutOfTheOrdinary
    if not named:
        raise _OutOfTheOrdinary
    endpoints: list[Endpoint] = []
    known: dict[bytes, _Traits] = {}
    for group in groups:
        _read_group(group, endpoints, known)
    return Assignment(tuple(endpoints), len(groups), factor)


def _overprovisioning(policy: Any) -> int:
    factor = _DEFAULT_OVERPROVISIONING
    for field, value in policy.ListFields():
        if field.name != "overprovisioning_factor" or value.value < 1:
            raise _OutOfTheOrdinary
        factor = value.value
    return factor


def _read_group(group: Any, endpoints: list[Endpoint], known: dict[bytes, _Traits]) -> None:
    locality, weight, priority = NO_LOCALITY, 0, 0
    entries: Any = ()
    for field, value in group.ListFields():
        match field.name:
            case "lb_endpoints":
                entries = value
            case "locality":
                locality = _locality(value)
            case "load_balancing_weight":
                weight = _weight(value)
            case "priority":
                priority = value
            case _:
                raise _OutOfTheOrdinary
    if priority > _HIGHEST_PRIORITY:
        raise _OutOfTheOrdinary
    for entry in entries:
        packed = entry.SerializeToString()
        address, size = _read_head(packed)
        rest = packed[size:]
        traits = known.get(rest)
        if traits is None:
            traits = known[rest] = _traits(entry)
        hostname = ""
        if address is None:
            address, hostname = _address_and_name(entry.endpoint)
        endpoints.append(Endpoint(address, traits[0], hostname, locality, weight, priority, traits[1], traits[2]))


def _locality(message: Any) -> Locality:
    for field, _ in message.ListFields():
        if field.name not in ("region", "zone", "sub_zone"):
            raise _OutOfTheOrdinary
    return Locality(message.region, message.zone, message.sub_zone)


def _weight(message: Any) -> int:
    weight: int = message.value
    if weight < 1:
        raise _OutOfTheOrdinary
    return weight


def _read_head(packed: bytes) -> tuple[SocketAddress | None, int]:
    """The address at the head of a packed endpoint and how long the head is; None and 0 when it isn't of that shape."""
    match = _HEAD.match(packed)
    if match is None:
        return None, 0
    size = match.end()
    ip, port = match[5], match[6]
    if (packed[1], packed[3], packed[5], packed[7]) != (size - 2, size - 4, size - 6, len(ip)):
        return None, 0
    number = port[0] & 0x7F
    if len(port) > 1:
        number |= (port[1] & 0x7F) << 7
        if len(port) > 2:
            number |= port[2] << 14
            if number > 65535:
                return None, 0
    return SocketAddress(ip.decode(), number), size


def _traits(message: Any) -> _Traits:
    weight, status, metadata = 1, HealthStatus.UNKNOWN, _NO_METADATA
    for field, value in message.ListFields():
        match field.name:
            case "endpoint":
                pass
            case "load_balancing_weight":
                weight = _weight(value)
            case "metadata":
                metadata = _metadata(value)
            case "health_status":
                status = _STATUSES.get(value, status)
                if status.value != value:
                    raise _OutOfTheOrdinary
            case _:
                raise _OutOfTheOrdinary
    return _Traits(weight, status, metadata)


def _metadata(message: Any) -> _Metadata:
    for field, _ in message.ListFields():
        if field.name != "filter_metadata":
            raise _OutOfTheOrdinary
    return {name: plain_struct(struct) for name, struct in message.filter_metadata.items()}


def _address_and_name(endpoint: Any) -> tuple[SocketAddress, str]:
    address, hostname = None, ""
    for field, value in endpoint.ListFields():
        match field.name:
            case "address":
                address = value
            case "hostname":
                hostname = value
            case _:
                raise _OutOfTheOrdinary
    return _socket_address(address), hostname


def _socket_address(address: Any) -> SocketAddress:
    ip, port = "", 0
    for kind, socket_address in address.ListFields() if address is not None else ():
        if kind.name != "socket_address":
            raise _OutOfTheOrdinary
        for field, value in socket_address.ListFields():
            match field.name:
                case "address":
                    ip = value
                case "port_value":
                    port = value
                case _:
                    raise _OutOfTheOrdinary
    if not 0 < port <= 65535:
        raise _OutOfTheOrdinary
    try:
        return SocketAddress(canonical_ip(ip), port)
    except ValueError:
        raise _OutOfTheOrdinary from None
