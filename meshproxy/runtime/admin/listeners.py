"""`/listeners`: each listener's name and the addresses that it is bound to."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

from meshproxy.address import Address, PipeAddress
from meshproxy.model.listener import Listener


def bound_addresses(listener: Listener, sockets: Sequence[socket.socket]) -> list[Address]:
    """Where a listener is; a port 0 has become the port that the kernel chose."""
    addresses: list[Address] = [listener.address, *listener.additional_addresses]
    for index, sock in enumerate(sockets[: len(addresses)]):
        address = addresses[index]
        if not isinstance(address, PipeAddress) and address.port == 0:
            addresses[index] = address.with_port(sock.getsockname()[1])
    return addresses


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


def _json(address: Address) -> dict[str, Any]:
    if isinstance(address, PipeAddress):
        return {"pipe": {"path": address.path}}
    return {"socket_address": {"address": address.ip, "port_value": address.port}}
