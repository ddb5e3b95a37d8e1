"""Filters towards hosts: what a cluster, or the router itself, lets each attempt pass on its way.

(HttpProtocolOptions.http_filters, Router.upstream_http_filters.) As in Envoy all attempts share one head: what a filter
adds it adds again to the next one, and the log shows it. Filters see the response's head before the router decides
about retries, and don't know yet where the request will go. Only those that look at heads and trailers, and never
wait, are taken (`config.upstream_filters`).
"""

from __future__ import annotations

from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.model.listener import FilterSpec
from meshproxy.plugin.context import Stream
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.upstream import Host, HttpUpstreamSink
from meshproxy_filters.http.router.carried import Carried


class FilteredAttempt(Carried):
    """See the module. reply: what a filter answered instead of the host."""

    def __init__(self, specs: tuple[FilterSpec, ...], stream: Stream, host: Host, sink: HttpUpstreamSink) -> None:
        super().__init__(stream, host, sink)
        self._filters = [spec.filter_class(spec.config, spec.context) for spec in specs]
        self.reply: LocalReply | None = None
        stream.upstream_host = stream.upstream_remote_address = ""
        for each in self._filters:
            result = each.on_request_headers(stream.request, stream)
            if isinstance(result, LocalReply):
                self.reply = result
                return
        stream.upstream_host = stream.upstream_remote_address = host.text

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        stream = self._stream
        before = stream.response
        stream.response = response  # formats look at it
        for each in reversed(self._filters):
            each.on_response_headers(response, stream)
        stream.response = before
        self._sink.on_upstream_response(response, end)

    def on_upstream_trailers(self, trailers: Headers) -> None:
        for each in reversed(self._filters):
            each.on_response_trailers(trailers, self._stream)
        self._sink.on_upstream_trailers(trailers)

    def send_trailers(self, trailers: Headers) -> None:
        for each in self._filters:
            each.on_request_trailers(trailers, self._stream)
        super().send_trailers(trailers)
