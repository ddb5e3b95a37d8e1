"""The admin interface as a listener like any other: the connection manager with one filter that answers.

So limits, keep-alive, broken requests and the access log are those of the data path. Its connections belong to a
worker object of their own (`main_thread` in the names of statistics), which never drains: an operator must be able to
watch a drain.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from meshproxy.address import BoundAddress, PipeAddress
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.filter_chain import FilterChainMatch
from meshproxy.model.http import HttpConnectionManagerConfig
from meshproxy.model.listener import FilterChain, FilterSpec, Listener
from meshproxy.model.route import RouteTable
from meshproxy.model.route_slot import RouteSlot
from meshproxy.model.snapshot import AdminConfig
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import TerminalHttpFilter
from meshproxy.runtime.admin.guard import refusal, split_host
from meshproxy.runtime.admin.message import AdminRequest, AdminResponse, AdminSite, Answer, parse_parameters
from meshproxy.runtime.downstream.http_connection import HttpConnection
from meshproxy.runtime.downstream.listener import ActiveListener
from meshproxy.runtime.downstream.listeners import Listeners
from meshproxy.runtime.downstream.listening_socket import open_socket
from meshproxy.runtime.process.aside import aside
from meshproxy.runtime.process.collector import pause_collector, resume_collector
from meshproxy.runtime.upstream.clusters import Clusters
from meshproxy.runtime.worker import Worker

_MAX_BODY = 64 * 1024
_FORM = "application/x-www-form-urlencoded"
_AFTERWARDS = 0.1
"""Seconds after which all that a page was made of is gone."""


class AdminShared:
    """What the filter's instances share.

    make_site: makes the pages, when the first request comes; most of a proxy's life nobody asks for most of them, and
    the code for them needn't be there at the start. Loading it takes some 30 ms: beside the traffic, if this process
    carries any. site: the pages, once they are made. allowed_hosts: host names accepted beside localhost and IP
    addresses. allowed: whether a path with its query is served.
    """

    def __init__(
        self,
        worker: Worker,
        make_site: Callable[[], AdminSite],
        carries_traffic: bool,
        allowed_hosts: frozenset[str],
        allowed: Callable[[str], bool] | None,
    ) -> None:
        self.worker = worker
        self.site: AdminSite | None = None
        self.allowed_hosts = allowed_hosts
        self.allowed = allowed
        self._make_site = make_site
        self._carries_traffic = carries_traffic

    async def open(self) -> AdminSite:
        """The pages, made now."""
        if self._carries_traffic:
            self.site = await aside(self._make_site)
        else:
            self.site = self._make_site()
        return self.site


class AdminFilter(TerminalHttpFilter[AdminShared]):
    """Answers one request."""

    _request: RequestHeaders
    _body: bytes = b""
    _task: asyncio.Task[None] | None = None

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        self._request = request
        if stream.request_end:
            self._answer(stream)

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> None:
        if self._task is not None or stream.done:
            return
        self._body += data
        if len(self._body) > _MAX_BODY:
            _send(stream, AdminResponse("the body of a request to the admin interface is too large\n", 413))
        elif end:
            self._answer(stream)

    def on_request_trailers(self, trailers: Any, stream: Stream) -> None:
        self._answer(stream)

    def on_stream_complete(self, stream: Stream) -> None:
        if self._task is not None:
            self._task.cancel()

    def _answer(self, stream: Stream) -> None:
        site = self.config.site
        answer = self._first_answer() if site is None else self._answer_of(site)
        if isinstance(answer, AdminResponse):
            _send(stream, answer)
        else:
            self._task = self.config.worker.loop.create_task(self._wait(answer, stream))

    async def _first_answer(self) -> AdminResponse:
        answer = self._answer_of(await self.config.open())
        return answer if isinstance(answer, AdminResponse) else await answer

    def _answer_of(self, site: AdminSite) -> Answer:
        request = self._request
        path, _, query = request.path.partition("?")
        mutates = path in site.mutating
        reason = refusal(request.authority, request.fields, mutates, self.config.allowed_hosts)
        if reason is not None:
            return AdminResponse(reason, 403)
        allowed = self.config.allowed
        if allowed is not None and not allowed(request.path):
            return AdminResponse(f"request to path {request.path} not allowed", 403)
        handler = site.handlers.get(path)
        if handler is None:
            return AdminResponse(site.not_found(), 404)
        if mutates and request.method != "POST":
            return AdminResponse(f"Method {request.method} not allowed, POST required.", 405)
        form = request.fields.get("content-type") == _FORM
        return handler(AdminRequest(request.method, path, parse_parameters(query), self._body, form))

    async def _wait(self, answer: Any, stream: Stream) -> None:
        pause_collector()
        keeps = False
        try:
            response = await self._response(answer)
            self._task = None
            keeps = response.keeps
            if not stream.done:
                await _send_in_turns(stream, response)
        finally:
            self.config.worker.loop.call_later(_AFTERWARDS, partial(resume_collector, keep=keeps))

    async def _response(self, answer: Any) -> AdminResponse:
        try:
            response: AdminResponse = await answer
        except Exception as error:  # a page that fails must not leave its reader waiting
            self.config.worker.log.error("admin request failed", path=self._request.path, error=repr(error))
            response = AdminResponse(f"internal error: {type(error).__name__}\n", 500)
        return response


async def _send_in_turns(stream: Stream, response: AdminResponse) -> None:
    """A long answer leaves in pieces, with a turn for all else after each."""
    if isinstance(response.body, str | bytes) or len(response.body) == 1:
        _send(stream, response)
        return
    *most, last = response.body or (b"",)
    stream.send_headers(_headers(response), False)
    for piece in most:
        stream.send_body(piece, False)
        await asyncio.sleep(0)
        if stream.done:
            return
    stream.send_body(last, True)


def _send(stream: Stream, response: AdminResponse) -> None:
    body = response.body
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogateescape")
    elif not isinstance(body, bytes):
        body = b"".join(body)
    stream.send_headers(_headers(response), False)
    stream.send_body(body, True)
    if response.then is not None:
        response.then()


def _headers(response: AdminResponse) -> ResponseHeaders:
    return ResponseHeaders(
        response.status,
        [
            *response.headers,
            ("content-type", response.content_type),
            ("cache-control", "no-cache, max-age=0"),
            ("x-content-type-options", "nosniff"),
        ],
    )


class AdminServer:
    """The listener of the admin interface."""

    def __init__(
        self,
        worker: Worker,
        address: BoundAddress,
        config: AdminConfig,
        make_site: Callable[[], AdminSite],
        carries_traffic: bool,
        context: FactoryContext,
        allowed_hosts: frozenset[str] = frozenset(),
    ) -> None:
        """worker: one of its own, named `main_thread`."""
        self.worker = worker
        worker.clusters = Clusters(worker, {})
        self.address = address
        shared = AdminShared(worker, make_site, carries_traffic, allowed_hosts, config.allowed)
        manager = HttpConnectionManagerConfig(
            stat_prefix="admin",
            routes=RouteSlot(RouteTable(name="admin")),
            http_filters=(FilterSpec("admin", AdminFilter, shared, context),),
            access_logs=config.access_logs,
            use_remote_address=True,
            generate_request_id=False,
            normalize_path=True,
            merge_slashes=True,
        )
        self._listener = Listener(
            name="admin",
            address=address,
            default_filter_chain=FilterChain(
                FilterChainMatch(), (FilterSpec("admin", HttpConnection, manager, context),)
            ),
            reuse_port=False,
            socket_options=config.socket_options,
            stat_prefix="admin",
        )
        self._active: ActiveListener | None = None

    def open(self) -> socket.socket:
        """Bind. Raises OSError."""
        return open_socket(self._listener, self.address)

    def start(self, sock: socket.socket) -> None:
        """Begin to answer."""
        self._active = Listeners(self.worker).add(self._listener, (sock,))
        if not isinstance(self.address, PipeAddress):
            self.address = self.address.with_port(sock.getsockname()[1])

    def stop(self) -> None:
        """Accept no more, and write out what the access log has to say so far."""
        if self._active is not None:
            self._active.acceptor.stop()
        self.worker.access_logs.flush()


def host_of(address: BoundAddress) -> frozenset[str]:
    """The host name that the interface is configured with, as one that it is served under."""
    return frozenset() if isinstance(address, PipeAddress) else frozenset((split_host(address.text),))
