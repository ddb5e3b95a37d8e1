"""`fetch`: one request to a cluster on behalf of a filter, with the body read whole."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FetchError, FetchReply
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import HttpUpstream
from meshproxy.runtime.node_address import node_ip
from meshproxy.runtime.timers import ShortTimer


class Fetcher(Protocol):
    """Whoever fetches: a worker, or what has as much of one. clusters: the live ones."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def clusters(self) -> Any: ...


class _Call:
    """The sink of one fetch."""

    def __init__(self, reply: asyncio.Future[FetchReply], max_body: int) -> None:
        self._reply = reply
        self._max_body = max_body
        self._response: ResponseHeaders | None = None
        self._body: list[bytes] = []
        self._size = 0
        self.late = False
        self.upstream: HttpUpstream | None = None

    @property
    def status(self) -> int:
        """Of the answer; what a router would say while there is none."""
        if self._response is not None:
            return self._response.status
        return 504 if self.late else 503

    def time_out(self) -> None:
        """Nobody waits any longer."""
        if not self._reply.done():
            self.late = True
            self._fail("no answer in time")
            if self.upstream is not None:
                self.upstream.reset()

    def _fail(self, why: str, reason: ResetReason | None = None) -> None:
        if not self._reply.done():
            self._reply.set_exception(FetchError(why, reason))

    def _finish(self) -> None:
        response = self._response
        if response is not None and not self._reply.done():
            self._reply.set_result(FetchReply(response.status, response, b"".join(self._body)))

    def on_upstream_ready(self, upstream: HttpUpstream) -> None:
        self.upstream = upstream

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        self._response = response
        if end:
            self._finish()

    def on_upstream_informational(self, response: ResponseHeaders) -> None:
        """Of no interest here."""

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        self._size += len(data)
        if self._size > self._max_body:
            self._fail(f"the body is longer than {self._max_body} bytes")
            if self.upstream is not None:
                self.upstream.reset()
            return
        self._body.append(data)
        if end:
            self._finish()

    def on_upstream_trailers(self, trailers: Headers) -> None:
        self._finish()

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        early = reason if self._response is None else None
        self._fail(f"{reason.text}: {detail}" if detail else reason.text, early)

    def on_upstream_blocked(self, blocked: bool) -> None:
        """The body was given whole; there is nobody to stop."""

    def on_upstream_read_done(self) -> None:
        """Nothing is joined up here."""


async def fetch(
    worker: Fetcher,
    cluster_name: str,
    request: RequestHeaders,
    body: bytes,
    timeout: float,
    max_body: int,
    tell_address: bool,
    *,
    chunked: bool = False,
) -> FetchReply:
    """See `Stream.fetch`; chunked: don't say the body's length, as Envoy's tracers. Raises FetchError."""
    cluster = worker.clusters.get(cluster_name)
    if cluster is None:
        raise FetchError(f"no cluster {cluster_name!r}")
    info = StreamInfo()
    info.request = request
    host = cluster.pick(info)
    if host is None:
        cluster.stats.count_response(503, internal=True)  # what a router would say
        raise FetchError(f"no healthy host in cluster {cluster_name!r}")
    fields = request.fields
    if body and not chunked:
        fields["content-length"] = str(len(body))
    # What Envoy's own client says of itself, so that the service can't tell the two apart.
    fields["x-envoy-internal"] = "true"
    if tell_address:
        fields["x-forwarded-for"] = node_ip()
    fields["x-envoy-expected-rq-timeout-ms"] = str(int(timeout * 1000))
    reply: asyncio.Future[FetchReply] = worker.loop.create_future()
    call = _Call(reply, max_body)
    call.upstream = upstream = cluster.request(host, request, not body, call)
    if body:
        upstream.send_body(body, True)
    limit = ShortTimer(worker.loop, max(timeout, 0.0), call.time_out)
    try:
        return await reply
    finally:
        limit.cancel()
        if reply.cancelled():
            call.upstream.reset()
        else:
            cluster.stats.count_response(call.status, internal=True)
            if call.late:
                cluster.stats.upstream_rq_timeout.inc()
