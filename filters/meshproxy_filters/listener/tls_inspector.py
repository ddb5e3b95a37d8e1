"""`envoy.filters.listener.tls_inspector`: whether the client speaks TLS, to whom, and what for.

The ClientHello is only looked at, so the handshake still sees all of it. What isn't TLS goes on as raw bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.listener import NEED_MORE, ListenerFilter, Peeked, RefuseConnection, Socket
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass
from meshproxy_filters.listener.tls_client_hello import MAX_CLIENT_HELLO, ClientHello, ClientHelloReader, TlsVerdict
from meshproxy_filters.listener.tls_fingerprints import ja3, ja4, read_offer

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class TlsInspectorStats:
    """`tls_inspector.` (Envoy: "TLS Inspector statistics")."""

    def __init__(self, scope: StatsScope) -> None:
        self.client_hello_too_large = scope.counter("client_hello_too_large")
        self.tls_found = scope.counter("tls_found")
        self.tls_not_found = scope.counter("tls_not_found")
        self.alpn_found = scope.counter("alpn_found")
        self.alpn_not_found = scope.counter("alpn_not_found")
        self.sni_found = scope.counter("sni_found")
        self.sni_not_found = scope.counter("sni_not_found")


@dataclass(frozen=True, slots=True)
class TlsInspectorConfig:
    """limit: bytes of a ClientHello beyond which it is refused. strict: what isn't TLS is refused, too.

    ja3, ja4: fingerprints that are taken.
    """

    stats: TlsInspectorStats
    limit: int = MAX_CLIENT_HELLO
    strict: bool = False
    ja3: bool = False
    ja4: bool = False


class TlsInspector(ListenerFilter[TlsInspectorConfig]):
    """Notes `tls`, the server name and ALPN for the choice of a filter chain."""

    max_peek: ClassVar[int] = MAX_CLIENT_HELLO

    _reader: ClientHelloReader | None = None

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> TlsInspectorConfig:
        view.ignore("initial_read_buffer_size")
        return TlsInspectorConfig(
            TlsInspectorStats(context.stats.scope("tls_inspector.")),
            view.integer("max_client_hello_size", MAX_CLIENT_HELLO),
            view.boolean("close_connection_on_client_hello_parsing_errors"),
            view.boolean("enable_ja3_fingerprinting"),
            view.boolean("enable_ja4_fingerprinting"),
        )

    def on_peek(self, data: bytes, end: bool, socket: Socket) -> Peeked:
        if self._reader is None:
            self._reader = ClientHelloReader(self.config.limit)
        verdict = self._reader.read(data)
        stats = self.config.stats
        if isinstance(verdict, ClientHello):
            stats.tls_found.value += 1
            (stats.sni_found if verdict.server_name else stats.sni_not_found).value += 1
            (stats.alpn_found if verdict.application_protocols else stats.alpn_not_found).value += 1
            socket.transport_protocol = "tls"
            socket.server_name = verdict.server_name
            socket.application_protocols = verdict.application_protocols
            if self.config.ja3 or self.config.ja4:
                offer = read_offer(self._reader.body)
                socket.ja3 = ja3(offer) if self.config.ja3 else ""
                socket.ja4 = ja4(offer) if self.config.ja4 else ""
            return Peeked()
        if verdict is TlsVerdict.TOO_LARGE or (verdict is TlsVerdict.TOO_LONG and self.config.strict):
            stats.client_hello_too_large.value += 1
            raise RefuseConnection("client hello too large")
        if verdict is TlsVerdict.NEED_MORE and not end:
            return NEED_MORE
        stats.tls_not_found.value += 1
        if verdict is TlsVerdict.TOO_OLD or self.config.strict:
            raise RefuseConnection("no client hello")
        return Peeked()
