"""What a request makes of the TLS of its connection: the server name (Envoy: `auto_sni`, `auto_san_validation`), and
the protocols that are offered.

Connections for different names can't be shared, so it is part of what a connection pool is found by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from meshproxy.address import is_ip
from meshproxy.headers import RequestHeaders
from meshproxy.model.cluster import AutoSni
from meshproxy.runtime.upstream.connections.proxy_header import ProxyHeader

if TYPE_CHECKING:
    from meshproxy.runtime.upstream.connections.internal_connection import SharedState


class ServerName(NamedTuple):
    """sni: to send; san: what the certificate must be for; alpn: protocols to offer, joined by ","; "": as configured.

    owner: the downstream connection that connections belong to, where they aren't shared.
    source: the address that they are made from, and a mark; see `plugin.listener.Socket`.
    shared: what an internal listener is given of the filter state, where the cluster passes it on.
    proxy: the PROXY protocol header that comes before TLS, where the cluster has one that names the client.
    """

    sni: str = ""
    san: str = ""
    alpn: str = ""
    proxy: ProxyHeader | None = None
    owner: int = 0
    source: tuple[str, int] | None = None
    shared: SharedState | None = None


NO_NAME = ServerName()


def server_name(options: AutoSni, request: RequestHeaders) -> ServerName:
    """From the authority, or the header that is configured instead of it. An IP address is no server name."""
    given = (request.get(options.header) if options.header else None) or request.authority
    name = host_of(given)
    if not name:
        return NO_NAME
    return ServerName(
        name if options.sni and not is_ip(name) else "",
        name if options.san_validation else "",
    )


def upstream_source(sink: Any) -> tuple[str, int] | None:
    """From where the connection for a sink is to be made, if that isn't the cluster's business."""
    info = getattr(sink, "stream_info", None)
    return info.connection.upstream_source if info is not None else None


def host_of(authority: str) -> str:
    """An authority without its port and brackets."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdecimal() and ":" not in host else authority
