"""The harness for HTTP filters: one request after the other through the real chain, without sockets.

    FilterHarness -> HarnessStream (`chain`'s own pipeline) -> the filters -> ScriptedUpstream in the router's place

What is real: compiling, the plan of hooks, bodies cut or whole, waiting, local replies, statistics. What is a record:
the wire. Time is stepped, so a filter that waits waits until the test lets time pass (`clock.advance`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from meshproxy.chain.http_plan import plan_filters
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.listener import FilterSpec
from meshproxy.model.route import FILTER_DISABLED, ForwardAction, PathMatch, Route
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.testing.clusters import ScriptedClusters
from meshproxy.testing.environment import Environment
from meshproxy.testing.scripted_request import Fields, pairs
from meshproxy.testing.stream import HarnessStream, Response, ScriptedTerminal

DEFAULT_ROUTE = Route(PathMatch("prefix", "/"), ForwardAction(cluster="upstream"), name="default")
_KEEP: Any = object()


class ScriptedUpstream:
    """What stands behind the filters in place of the router. At first it answers with an empty 200."""

    def __init__(self) -> None:
        self._answer: Callable[[RequestHeaders], Response] = lambda _: Response()

    def returns(
        self,
        status: int = 200,
        headers: Fields = (),
        body: bytes = b"",
        *,
        chunks: Sequence[bytes] = (),
        trailers: Fields = (),
    ) -> ScriptedUpstream:
        """Answer every request so, once it is complete. chunks: a body in these pieces."""
        answer = Response(status, pairs(headers), tuple(chunks) or ((body,) if body else ()), pairs(trailers))
        self._answer = lambda _: answer
        return self

    def hangs(self) -> ScriptedUpstream:
        """Answer nothing; `Exchange.respond` does, when the test says so."""
        self._answer = lambda _: Response(0)
        return self

    def __call__(self, request: RequestHeaders) -> Response:
        return self._answer(request)


class Exchange:
    """One request and what has come of it so far.

    A request whose filters wait stays open: let time pass (`harness.clock.advance`), or go on with the methods here.
    """

    def __init__(self, harness: FilterHarness, stream: HarnessStream) -> None:
        self._harness = harness
        self._record = stream.record
        self.stream = stream

    # What came of it.

    @property
    def local_reply(self) -> LocalReply | None:
        """The reply that a filter gave, or the chain in its stead."""
        return self._record.local_reply

    @property
    def reached_upstream(self) -> bool:
        """Whether the request got past the filters."""
        return self._record.upstream_headers is not None

    @property
    def upstream_headers(self) -> RequestHeaders:
        """The head as the upstream was given it. Raises AssertionError if it wasn't."""
        assert self._record.upstream_headers is not None, f"the request didn't pass the filters: {self!r}"
        return self._record.upstream_headers

    @property
    def upstream_chunks(self) -> list[bytes]:
        """The request's body as the upstream was given it, piece by piece."""
        return self._record.upstream_chunks

    @property
    def upstream_body(self) -> bytes:
        return b"".join(self._record.upstream_chunks)

    @property
    def upstream_trailers(self) -> Headers | None:
        return self._record.upstream_trailers

    @property
    def upstream_complete(self) -> bool:
        """Whether the upstream was given the end of the request."""
        return self._record.upstream_complete

    @property
    def response(self) -> ResponseHeaders:
        """The head that went to the client. Raises AssertionError if none did."""
        assert self._record.response is not None, f"nothing was answered: {self!r}"
        return self._record.response

    @property
    def answered(self) -> bool:
        """Whether a head has gone to the client."""
        return self._record.response is not None

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def response_chunks(self) -> list[bytes]:
        return self._record.response_chunks

    @property
    def response_body(self) -> bytes:
        return b"".join(self._record.response_chunks)

    @property
    def response_trailers(self) -> Headers | None:
        return self._record.response_trailers

    @property
    def informational(self) -> list[ResponseHeaders]:
        """The 1xx heads that went to the client."""
        return self._record.informational

    @property
    def complete(self) -> bool:
        """Whether the client was given the end of the response."""
        return self._record.complete

    @property
    def reset(self) -> str | None:
        """Why the stream was cut; None if it wasn't."""
        return self._record.reset

    @property
    def waiting(self) -> bool:
        """Whether a hook waits for something."""
        return self.stream.waiting

    @property
    def paused(self) -> bool:
        """Whether the client isn't read."""
        return self.stream.paused > 0

    def __repr__(self) -> str:
        record = self._record
        return f"Exchange(local_reply={record.local_reply}, reset={record.reset!r}, waiting={self.waiting})"

    # What can still happen.

    def send_body(self, data: bytes, end: bool = False) -> Exchange:
        """A piece of the request's body comes."""
        with self._harness.loop.entered():
            self.stream.receive_body(data, end)
            self._read_done()
        return self

    def send_trailers(self, trailers: Fields) -> Exchange:
        """The request ends with trailers."""
        with self._harness.loop.entered():
            self.stream.receive_trailers(Headers(pairs(trailers)))
            self._read_done()
        return self

    def respond(
        self,
        status: int = 200,
        headers: Fields = (),
        body: bytes = b"",
        *,
        chunks: Sequence[bytes] = (),
        trailers: Fields = (),
    ) -> Exchange:
        """The upstream answers now, whether or not it has the whole request."""
        answer = Response(status, pairs(headers), tuple(chunks) or ((body,) if body else ()), pairs(trailers))
        with self._harness.loop.entered():
            terminal = self.stream.filters[-1]
            assert isinstance(terminal, ScriptedTerminal)
            terminal.answer(answer)
        return self

    def client_leaves(self) -> Exchange:
        """The client closes its connection."""
        with self._harness.loop.entered():
            self.stream.reset("downstream_remote_disconnect", "DC")
        return self

    def _read_done(self) -> None:
        self.stream.flush()
        if self.stream.filters and not self.stream.done:
            self.stream.filters[-1].on_request_read_done(self.stream)  # type: ignore[attr-defined]  # the last is terminal


class FilterHarness(Environment):
    """Runs an HTTP filter in the proxy's own filter chain, without a socket and with a clock that obeys.

        harness = FilterHarness(TokenGate, TokenGateConfig("tokens"))
        harness.cluster("tokens").returns(200, {"x-user": "ann"})
        exchange = harness.request("GET", "/orders", headers={"x-api-token": "t"})
        assert exchange.upstream_headers["x-user"] == "ann"

    filter_class, config: the filter under test; a dict is read as the program reads YAML (see `Environment.compile`).
    route_config: what the route says about the filter (`typed_per_filter_config`), or `FILTER_DISABLED`.
    before, after: other filters, as (class, config), that stand before and behind it.
    body_limit: the listener's `per_connection_buffer_limit_bytes`, in bytes.
    upstream: what answers behind the filters. errors: what filters raised.
    """

    def __init__(
        self,
        filter_class: type[HttpFilter[Any]],
        config: Any = None,
        *,
        route_config: Any = _KEEP,
        before: Sequence[tuple[type[HttpFilter[Any]], Any]] = (),
        after: Sequence[tuple[type[HttpFilter[Any]], Any]] = (),
        body_limit: int = 1 << 20,
        name: str = "",
        **environment: Any,
    ) -> None:
        super().__init__(**environment)
        self.upstream = ScriptedUpstream()
        self.errors: list[Exception] = []
        self.body_limit = body_limit
        self.clusters: ScriptedClusters = self._clusters
        self.cluster("upstream")
        scope = self._store.scope("http.test.")
        self._specs: list[FilterSpec] = [self.compile(each, settings, scope) for each, settings in before]
        tested = self.compile(filter_class, config, scope, name)
        self._specs.append(tested)
        self._specs += [self.compile(each, settings, scope) for each, settings in after]
        if not self._specs[-1].filter_class.terminal:
            self._specs.append(self.compile(ScriptedTerminal, self.upstream, scope))
        self._levels = {}
        if route_config is not _KEEP:
            self._levels[tested.name] = self.compile_route(tested, route_config)
        self.plan = plan_filters(self._specs, self._levels)

    def request(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        headers: Fields = (),
        body: bytes = b"",
        chunks: Sequence[bytes] = (),
        trailers: Fields = (),
        authority: str = "test.example",
        protocol: str = "HTTP/1.1",
        end: bool = True,
        route: Route | None = DEFAULT_ROUTE,
        prepare: Callable[[HarnessStream], None] | None = None,
    ) -> Exchange:
        """Send a request through the filters and run until everything has come to rest.

        protocol: what the client speaks, such as "HTTP/2".
        body: comes in the same read as the head; chunks: in reads of their own. end: false leaves the request open.
        route: what the route table decides; None for no match. prepare: may set facts of the stream beforehand.
        """
        pieces = [body] if body else list(chunks)
        fields = pairs(trailers)
        head_only = end and not pieces and not fields
        request = RequestHeaders(method, path, authority, "http", pairs(headers))
        stream = HarnessStream(self, self.plan, request, head_only)
        stream.protocol = protocol
        cluster = route.action.cluster if route is not None and isinstance(route.action, ForwardAction) else ""
        stream.find_route = lambda: (route, cluster)
        stream.clear_route()
        if prepare is not None:
            prepare(stream)
        exchange = Exchange(self, stream)
        with self.loop.entered():
            stream.begin()
            if body:
                stream.receive_body(body, end and not fields)
            exchange._read_done()
        for index, chunk in enumerate(() if body else pieces):
            exchange.send_body(chunk, end and not fields and index == len(pieces) - 1)
        if fields:
            exchange.send_trailers(fields)
        return exchange


__all__ = ["DEFAULT_ROUTE", "FILTER_DISABLED", "Exchange", "FilterHarness", "ScriptedUpstream"]
