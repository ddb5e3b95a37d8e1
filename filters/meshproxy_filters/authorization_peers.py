"""What a service that authorises (`envoy.service.auth.v3`) is told of the two ends of a connection, and of metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext

from meshproxy.plugin.stream_info import TlsInfo, split_address


def principal_of(tls: TlsInfo | None, *, peer: bool) -> str:
    """Who the peer, or this end, is by its certificate; "" without one."""
    if tls is None:
        return ""
    if peer:
        names = (*tls.peer_uri_sans, *tls.peer_dns_sans, tls.peer_subject)
    else:
        names = (*tls.local_uri_sans, *tls.local_dns_sans, tls.local_subject)
    return next(filter(None, names), "")


@lru_cache(1024)
def peer_of(address: str, principal: str) -> AttributeContext.Peer:
    """Remembered, since copying it costs a third of filling it; not to be changed."""
    peer = AttributeContext.Peer(principal=principal)
    ip, port = split_address(address)
    if port:
        peer.address.socket_address.address = ip
        peer.address.socket_address.port_value = port
    else:
        peer.address.pipe.path = ip
    return peer


def tell_metadata(told: Any, metadata: Mapping[str, Mapping[str, Any]] | None, namespaces: Sequence[str]) -> None:
    """Fill a `Metadata` with these namespaces."""
    told.SetInParent()
    for namespace in namespaces:
        if metadata is not None and namespace in metadata:
            told.filter_metadata[namespace].update(metadata[namespace])
