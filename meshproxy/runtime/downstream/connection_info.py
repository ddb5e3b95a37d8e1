"""What filters and access logs are told of a connection, made when its filter chain is chosen, or when it won't be."""

from __future__ import annotations

from meshproxy.address import INTERNAL_CLIENT
from meshproxy.model.listener import Listener
from meshproxy.plugin.listener import Socket
from meshproxy.plugin.stream_info import ConnectionInfo
from meshproxy.runtime.worker import Worker


def connection_info(worker: Worker, config: Listener, facts: Socket) -> ConnectionInfo:
    """facts: what is known once the listener filters have run, or refused. Only one that is served gets a number."""
    info = ConnectionInfo()
    local, remote = facts.local, facts.remote
    if facts.direct_local[0]:
        info.local_address = here = _text(local)
        info.remote_address = there = _text(remote)
        if facts.local_restored:
            info.original_destination = local
        info.direct_local_address = here if local is facts.direct_local else _text(facts.direct_local)
        info.direct_remote_address = there if remote is facts.direct_remote else _text(facts.direct_remote)
        if facts.proxy_tlvs is not None:
            info.proxy_tlvs = facts.proxy_tlvs
    elif facts.internal:
        _of_internal(info, facts)
    if facts.upstream_source is not None:
        info.upstream_source = facts.upstream_source
        worker.vary_sources()
    info.listener_name = config.name
    if config.traffic_direction != "UNSPECIFIED":
        info.listener_direction = config.traffic_direction
    if config.metadata:
        info.listener_metadata = config.metadata
    if facts.server_name:
        info.requested_server_name = facts.server_name
    if facts.ja3:
        info.ja3 = facts.ja3
    if facts.ja4:
        info.ja4 = facts.ja4
    info.started = worker.loop.time()
    return info


def _of_internal(info: ConnectionInfo, facts: Socket) -> None:
    info.direct_local_address = info.local_address = facts.internal
    info.direct_remote_address = info.remote_address = INTERNAL_CLIENT
    if facts.local_restored:
        info.local_address = _text(facts.local)
        info.original_destination = facts.local
    if facts.remote[0]:
        info.remote_address = _text(facts.remote)
    info.filter_state, info.shared_state = facts.filter_state, facts.shared_state


def _text(address: tuple[str, int]) -> str:
    """`ip:port`, IPv6 in brackets."""
    ip, port = address
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
