"""`/listeners`: each listener's name and the addresses that it is bound to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from meshproxy.address import Address, InternalAddress, PipeAddress


def render_text(listeners: Sequence[tuple[str, Sequence[Address]]]) -> str:
    """`name::address` lines."""
    return "".join([f"{name}::{address.text}\n" for name, addresses in listeners for address in addresses])


def render_json(listeners: Sequence[tuple[str, Sequence[Address]]]) -> str:
    """envoy.admin.v3.Listeners."""
    statuses = []
    for name, addresses in listeners:
        status: dict[str, Any] = {"name": name, "local_address": _json(addresses[0])}
        if len(addresses) > 1:
            status["additional_local_addresses"] = [_json(address) for address in addresses[1:]]
        statuses.append(status)
    return json.dumps({"listener_statuses": statuses} if statuses else {}, indent=1) + "\n"


def internal_json(address: InternalAddress) -> dict[str, Any]:
    """`envoy_internal_address` of an Address, as these pages print it."""
    fields = {"server_listener_name": address.listener, "endpoint_id": address.endpoint_id}
    return {"envoy_internal_address": {name: value for name, value in fields.items() if value}}


def _json(address: Address) -> dict[str, Any]:
    if isinstance(address, PipeAddress):
        return {"pipe": {"path": address.path}}
    if isinstance(address, InternalAddress):
        return internal_json(address)
    return {"socket_address": {"address": address.ip, "port_value": address.port}}
