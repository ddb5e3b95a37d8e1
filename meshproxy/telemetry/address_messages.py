"""Addresses as services are told of them (envoy.config.core.v3.Address)."""

from __future__ import annotations

from typing import Any

from meshproxy.address import parse_internal
from meshproxy.plugin.stream_info import split_address


def set_address(target: Any, text: str) -> None:
    """Fill an `Address` with one in its printed form; "" leaves it empty."""
    if not text:
        return
    if text.startswith(("/", "@")):
        target.pipe.path = text
        return
    internal = parse_internal(text)
    if internal is not None:
        target.envoy_internal_address.server_listener_name = internal.listener
        target.envoy_internal_address.endpoint_id = internal.endpoint_id
        return
    ip, port = split_address(text)
    target.socket_address.address = ip.strip("[]")
    target.socket_address.port_value = port
