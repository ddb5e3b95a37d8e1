"""`istio.alpn`: which protocols TLS to the upstream offers, by the HTTP that will be spoken on the connection.

Istio's sidecars offer `istio-http/1.1` and its like, so that the other sidecar knows from the handshake alone that HTTP
from the mesh comes. The override holds for this request's connection, in place of the cluster's `alpn_protocols`; a
connection without TLS has no use for it. A cluster says with `alpn_override: "false"` in its metadata under `istio`
that it is to be left alone (istio/proxy, source/extensions/filters/http/alpn).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_PROTOCOLS = {"HTTP10": "HTTP/1.0", "HTTP11": "HTTP/1.1", "HTTP2": "HTTP/2"}
_SPOKEN = {"HTTP1": "HTTP/1.1", "HTTP2": "HTTP/2"}


@dataclass(frozen=True, slots=True)
class AlpnConfig:
    """Protocol of the request to the upstream -> what is offered, joined by ","."""

    overrides: Mapping[str, str]


class IstioAlpn(HttpFilter[AlpnConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> AlpnConfig:
        overrides: dict[str, str] = {}
        for entry in view.views("alpn_override"):
            names = entry.texts("alpn_override")
            if any(not name or "," in name or len(name) > 255 for name in names):
                entry.fail("a protocol's name is empty, too long or has a comma", "alpn_override")
            overrides.setdefault(_PROTOCOLS[entry.enum("upstream_protocol")], ",".join(names))
        return AlpnConfig(overrides)

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        cluster = stream.clusters.get(stream.cluster_name)
        if cluster is None:
            return
        config = cluster.config
        istio = config.metadata.get("istio")
        if isinstance(istio, Mapping) and istio.get("alpn_override") == "false":
            return
        protocol = _SPOKEN.get(config.protocol) or stream.protocol  # else as the client does
        stream.alpn_override = self.config.overrides.get(protocol, "")
