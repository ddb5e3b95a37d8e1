"""`envoy.filters.listener.http_inspector`: whether plain bytes are HTTP, and which version.

What it finds stands where ALPN would, so that a filter chain asks both in the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.listener import NEED_MORE, ListenerFilter, Peeked, Socket
from meshproxy.plugin.stats import StatsScope
from meshproxy_filters.listener.http_sniff import MAX_FIRST_LINE, HttpVerdict, sniff_http

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class HttpInspectorStats:
    """`http_inspector.` (Envoy: "HTTP Inspector statistics")."""

    def __init__(self, scope: StatsScope) -> None:
        self.not_found = scope.counter("http_not_found")
        self.found = {
            HttpVerdict.HTTP_1_0: scope.counter("http10_found"),
            HttpVerdict.HTTP_1_1: scope.counter("http11_found"),
            HttpVerdict.H2C: scope.counter("http2_found"),
        }


class HttpInspector(ListenerFilter[HttpInspectorStats]):
    """Notes the application protocol of plain text; TLS hides it, and ALPN tells it there."""

    max_peek: ClassVar[int] = MAX_FIRST_LINE

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> HttpInspectorStats:
        """It has no fields."""
        return HttpInspectorStats(context.stats.scope("http_inspector."))

    def on_peek(self, data: bytes, end: bool, socket: Socket) -> Peeked:
        if socket.transport_protocol == "tls":
            return Peeked()
        verdict = sniff_http(data)
        if verdict is HttpVerdict.NEED_MORE and not end:
            return NEED_MORE
        counter = self.config.found.get(verdict)
        if counter is None:
            self.config.not_found.value += 1
        else:
            counter.value += 1
            socket.application_protocols = (verdict.value,)
        return Peeked()
