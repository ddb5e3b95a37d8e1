"""gRPC calls of our own to services behind our clusters: streams, and single calls on top of them.

A call is an ordinary upstream request with a body of framed messages, so that it has the cluster's balancing, TLS,
limits and statistics. It is over with the trailers; whatever else ends it becomes one of gRPC's statuses, as Envoy's
client makes it (`httpToGrpcStatus`), so a sink has one thing to understand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol
from urllib.parse import unquote

from meshproxy.codec.grpc_messages import MessageReader, frame_message
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.grpc_service import GrpcService
from meshproxy.plugin.context import GrpcError
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import HttpUpstream
from meshproxy.runtime.fetch import Fetcher
from meshproxy.runtime.node_address import node_ip
from meshproxy.runtime.timers import ShortTimer

OK, UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 2, 4, 12, 13, 14
_OF_HTTP = {400: INTERNAL, 401: 16, 403: 7, 404: UNIMPLEMENTED, **dict.fromkeys((429, 502, 503, 504), UNAVAILABLE)}


_PATIENCE_S = 60.0
"""For a call without a timeout that nobody waits for."""


class GrpcSink(Protocol):
    """What a call tells. Nothing is told before `open_stream` has returned, nor after `reset`."""

    def on_message(self, data: bytes) -> None: ...

    def on_closed(self, status: int, message: str) -> None:
        """The call is over, in order (status 0) or not, or never came to be."""


def open_stream(
    host: Fetcher, service: GrpcService, path: str, sink: GrpcSink, timeout: float | None = None
) -> GrpcStream | None:
    """Begin a call to the method `/package.Service/Method`; None when the cluster has no host, or isn't there.

    timeout: of a single call, which the service is told; a stream lasts as long as it is of use, whatever
    `GrpcService.timeout` says, as in Envoy.
    """
    cluster = host.clusters.get(service.cluster)
    if cluster is None and service.own is not None:
        cluster = host.clusters.adopt(service.own)  # of a service that came by discovery
    if cluster is None:
        return None
    info = StreamInfo()
    info.request = request = _make_request(service, path, "https" if cluster.tls is not None else "http", timeout)
    chosen = cluster.pick(info)
    if chosen is None:
        cluster.stats.count_response(503, internal=True)  # what a router would say
        return None
    stream = GrpcStream(host, cluster, MessageReader(service.max_message), sink)
    # gRPC is HTTP/2, also to a cluster that would speak as a client does.
    stream.upstream = cluster.request(chosen, request, False, stream, protocol="HTTP/2")
    stream.begun()
    return stream


def why_none(host: Fetcher, service: GrpcService) -> GrpcError:
    """Why `open_stream` has given none."""
    missing = host.clusters.get(service.cluster) is None
    return GrpcError(UNAVAILABLE, "Cluster not available" if missing else "no healthy upstream")


def _make_request(service: GrpcService, path: str, scheme: str, timeout: float | None) -> RequestHeaders:
    request = RequestHeaders("POST", path, service.authority, scheme)
    fields = request.fields
    fields["te"] = "trailers"
    if timeout is not None:
        fields["grpc-timeout"] = f"{max(1, int(timeout * 1000))}m"
    fields["content-type"] = "application/grpc"
    for name, value in service.initial_metadata:
        request.add(name, value)
    if not service.skip_envoy_headers:
        fields["x-envoy-internal"] = "true"
        fields["x-forwarded-for"] = node_ip()
        if timeout is not None:
            fields["x-envoy-expected-rq-timeout-ms"] = str(max(1, int(timeout * 1000)))
    return request


class GrpcStream:
    """One call (`HttpUpstreamSink`). upstream: its request. on_blocked: told that the service can't take more, or can
    again."""

    upstream: HttpUpstream
    on_blocked: Callable[[bool], None] | None = None

    def __init__(self, host: Fetcher, cluster: Any, reader: MessageReader, sink: GrpcSink) -> None:
        self._host = host
        self._cluster = cluster
        self._reader = reader
        self._sink = sink
        self._over = False
        self._status = 0
        self._early: tuple[int, str] | None = None
        self._begun = False

    def begun(self) -> None:
        """The request has been given to the cluster."""
        self._begun = True
        if self._early is not None:
            self._host.loop.call_soon(self._tell, *self._early)

    def send(self, message: bytes, *, last: bool = False) -> None:
        """Send a message, and with the last the end; after the end of the call it goes nowhere."""
        if not self._over:
            self.upstream.send_body(frame_message(message), last)
            self.upstream.flush()

    def end(self) -> None:
        """No more messages will be sent."""
        if not self._over:
            self.upstream.send_body(b"", True)
            self.upstream.flush()

    def read_disable(self, disable: bool) -> None:
        """Stop or go on reading messages; what is on its way still comes."""
        if not self._over:
            self.upstream.read_disable(disable)

    def reset(self) -> None:
        """Give the call up; the sink hears nothing more."""
        self._sink = _NOBODY
        if not self._over:
            self._over = True
            self.upstream.reset()

    def time_out(self) -> None:
        """There was no answer in time: count it as one that says so, and give the call up."""
        if not self._over:
            self._cluster.stats.count_response(504, internal=True)
            self._cluster.stats.upstream_rq_timeout.inc()
            self.reset()

    def _close(self, status: int, message: str) -> None:
        """The call is over."""
        if self._over:
            return
        self._over = True
        if self._status:
            self._cluster.stats.count_response(self._status, internal=True)
        if self._begun:
            self._tell(status, message)
        else:
            self._early = (status, message)

    def _tell(self, status: int, message: str) -> None:
        self._sink.on_closed(status, message)

    def _abort(self, status: int, message: str) -> None:
        """End the call because of what the other side did."""
        if not self._over:
            self.upstream.reset()
            self._close(status, message)

    # What the upstream tells

    def on_upstream_ready(self, upstream: HttpUpstream) -> None:
        self.upstream = upstream

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        self._status = response.status
        if response.status != 200:
            self._refused(response, end)
        elif end or "grpc-status" in response.fields:
            self._concluded(response, end)

    def _refused(self, response: ResponseHeaders, end: bool) -> None:
        """What answers isn't a gRPC service."""
        status = _OF_HTTP.get(response.status, UNKNOWN)
        if end and "grpc-status" in response.fields:
            self._concluded(response, end)
        elif end:
            self._close(status, f"HTTP status {response.status}")
        else:
            self._abort(status, f"HTTP status {response.status}")

    def _concluded(self, fields: Headers, end: bool) -> None:
        """What says how the call ended."""
        status = _status_of(fields)
        if status == OK and not self._reader.is_between:
            status = INTERNAL
        message = unquote(fields.get("grpc-message") or "", "utf-8", "replace")
        if end:
            self._close(status, message)
        else:
            self._abort(status, message)

    def on_upstream_informational(self, response: ResponseHeaders) -> None:
        """Of no interest here."""

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        try:
            messages = self._reader.receive(data)
        except ProtocolError as error:
            self._abort(INTERNAL, str(error))
            return
        for message in messages:
            if not self._over:
                self._sink.on_message(message)
        if end:
            self._close(UNKNOWN, "the response ended without a status")

    def on_upstream_trailers(self, trailers: Headers) -> None:
        self._concluded(trailers, True)

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        if not self._status:
            self._status = 503  # what it comes to for whoever asked
        self._close(UNAVAILABLE, f"{reason.text}: {detail}" if detail else reason.text)

    def on_upstream_blocked(self, blocked: bool) -> None:
        """Of interest where there are many messages; the few and small wait in the connection's buffer."""
        if self.on_blocked is not None and not self._over:
            self.on_blocked(blocked)

    def on_upstream_read_done(self) -> None:
        """Nothing is joined up here."""


class _Nobody:
    """The sink of a call that was given up."""

    def on_message(self, data: bytes) -> None: ...

    def on_closed(self, status: int, message: str) -> None: ...


_NOBODY = _Nobody()


def _status_of(fields: Headers) -> int:
    """The status in a head or in trailers (ASCII digits; what is none is UNKNOWN)."""
    text = fields.get("grpc-status") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else UNKNOWN


class _Single:
    """The sink of a call with one message back."""

    def __init__(self, reply: asyncio.Future[bytes]) -> None:
        self._reply = reply
        self._message: bytes | None = None

    def on_message(self, data: bytes) -> None:
        self._message = data

    def time_out(self, stream: GrpcStream) -> None:
        if not self._reply.done():
            stream.time_out()
            self._reply.set_exception(GrpcError(DEADLINE_EXCEEDED, "no answer in time"))

    def on_closed(self, status: int, message: str) -> None:
        if self._reply.done():
            return
        if status == OK and self._message is not None:
            self._reply.set_result(self._message)
        else:
            self._reply.set_exception(GrpcError(status or INTERNAL, message))


def tell(host: Fetcher, service: GrpcService, path: str, message: bytes) -> None:
    """A call with one message, whatever comes of it within the service's timeout."""
    stream = open_stream(host, service, path, _NOBODY, service.timeout)
    if stream is not None:
        stream.send(message, last=True)
        host.loop.call_later(service.timeout or _PATIENCE_S, stream.time_out)


async def call(host: Fetcher, service: GrpcService, path: str, message: bytes) -> bytes:
    """A call with one message each way, within the service's timeout. Raises GrpcError."""
    reply: asyncio.Future[bytes] = host.loop.create_future()
    single = _Single(reply)
    stream = open_stream(host, service, path, single, service.timeout)
    if stream is None:
        raise why_none(host, service)
    stream.send(message, last=True)
    limit = None
    if service.timeout is not None:
        limit = ShortTimer(host.loop, max(service.timeout, 0.0), partial(single.time_out, stream))
    try:
        return await reply
    finally:
        if limit is not None:
            limit.cancel()
        stream.reset()
