"""HTTP filters: the base class that a filter author extends.

A filter is one class. It overrides the hooks it needs; hooks it leaves alone cost nothing, because each chain is
planned when the configuration is compiled and holds, per hook, only the filters that override it. One instance serves
one stream, so request state may live on `self`.

Rules that the chain keeps:
- request hooks run first to last, response hooks last to first; local replies pass the response hooks too;
- a hook may be `def` or `async def`. While an `async` hook waits, no more of its request is read: back-pressure takes
  the place of buffering. The chain then goes on where it stopped;
- `None` goes on. `LocalReply` from a request hook ends the request there. From a body hook, `bytes` replace the data,
  and `Parted` gives them part by part;
- a hook that raises fails its own stream (500, or it is skipped with `on_error = FAIL_OPEN`) and is counted;
- `on_stream_complete` is called exactly once for every instance, whatever happened.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext, Logger, Stream
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import StatsScope

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

C = TypeVar("C")


class Parted:
    """What a body hook makes of a piece, part after part: `data` goes on now, and what `rest` gives after it.

    rest: called when `data` has gone as far as it can, it gives what the hook might have: bytes, another `Parted`, or,
        as None, nothing more. Or trailers that shall follow a body that has ended without any.
    A hook that has the body whole can't give it in parts.
    """

    __slots__ = ("data", "rest")

    def __init__(self, data: bytes, rest: Callable[[], Awaitable[bytes | Parted | None]] | Headers) -> None:
        self.data = data
        self.rest = rest


HeadersResult = LocalReply | None | Awaitable[LocalReply | None]
BodyResult = bytes | LocalReply | Parted | None | Awaitable[bytes | LocalReply | Parted | None]
PlainResult = None | Awaitable[None]


class BodyMode(enum.Enum):
    """How a filter wants a body: as it comes, or whole."""

    STREAM = "stream"
    BUFFER = "buffer"


STREAM = BodyMode.STREAM
BUFFER = BodyMode.BUFFER


class BodyPart(enum.Enum):
    """How much of a body a message is held for, where it isn't for the whole; see `HttpFilter.wants_request_body`.

    UP_TO_LIMIT: as much as the limit allows; the hook gets it with `end` false, and the rest passes by the filter.
    WHAT_IS_HERE: the first piece, if it has come by now; it and all that follow come to the hook one by one.
    """

    UP_TO_LIMIT = "up to the limit"
    WHAT_IS_HERE = "what is here"


UP_TO_LIMIT = BodyPart.UP_TO_LIMIT
WHAT_IS_HERE = BodyPart.WHAT_IS_HERE


class OnError(enum.Enum):
    """What becomes of a stream whose filter raised."""

    FAIL_CLOSED = "fail_closed"
    FAIL_OPEN = "fail_open"


FAIL_CLOSED = OnError.FAIL_CLOSED
FAIL_OPEN = OnError.FAIL_OPEN


class HttpFilter(Generic[C]):
    """Base class of HTTP filters.

    config_type: a dataclass (or pydantic model) that `TypedStruct` configuration is read into; a filter whose
        configuration is a protobuf message overrides `compile` instead.
    request_body, response_body: BUFFER asks for the whole body in one call of the body hook. Until then the chain
        stands behind this filter. A body over the limit is answered with 413 (request) or 500 (response).
    body_limit: bytes; 0 takes the listener's `per_connection_buffer_limit_bytes`.
    on_error: FAIL_OPEN skips a hook that raised.
    terminal: the filter ends the chain: it answers, and no filter may stand behind it.
    stateless: nothing of a request is kept on `self`, so one instance can serve all streams of a configuration.
    """

    config_type: ClassVar[type[Any] | None] = None
    request_body: ClassVar[BodyMode] = STREAM
    response_body: ClassVar[BodyMode] = STREAM
    on_error: ClassVar[OnError] = FAIL_CLOSED
    terminal: ClassVar[bool] = False
    stateless: ClassVar[bool] = False

    def __init__(self, config: C, context: FactoryContext) -> None:
        self.config = config
        self.context = context

    def stands_for(self, other: HttpFilter[Any]) -> bool:
        """Whether `other` has its place in the chain through this one: itself, or what it hands over to."""
        return self is other

    @property
    def stats(self) -> StatsScope:
        """The scope of the connection manager's statistics. Make the handles in `compile`, not per request."""
        return self.context.stats

    @property
    def log(self) -> Logger:
        """The program's log, with the filter's name bound."""
        return self.context.log

    @property
    def body_limit(self) -> int:
        """Bytes that BUFFER may hold; 0 takes the listener's `per_connection_buffer_limit_bytes`."""
        return 0

    @property
    def accepts_partial_body(self) -> bool:
        """Whether a request's body that reaches the limit is given to the hook as far as it has come, with `end` false,
        where others answer 413; what comes after that passes by the filter."""
        return False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> C:
        """Turn the filter's message into what its instances use; runs once per configuration.

        Raises ConfigError (see `ConfigView.fail`).
        """
        view.fail(f"{cls.__name__} takes its configuration as a TypedStruct")

    @classmethod
    def compile_struct(cls, config: Any, context: FactoryContext) -> C:
        """`compile` for a filter with a `config_type`: `config` is one, read and checked.

        What this returns all instances share: the place for counters, tables and caches. Raises ValueError for values
        that can't be used together.
        """
        return cast("C", config)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> C:
        """The same for `typed_per_filter_config`; the most specific one replaces the filter's own."""
        return cls.compile(view, context)

    @classmethod
    def merge_levels(cls, configs: Sequence[C]) -> C:
        """What the configurations of a route, its virtual host and its table make together, the most specific first.

        Envoy's rule for most filters: the most specific one stands alone.
        """
        return configs[0]

    @classmethod
    def merge_route(cls, base: C, route: C) -> C:
        """What a route's configuration makes of the filter's own. Envoy's rule for most filters: it replaces it."""
        return route

    @classmethod
    def is_active(cls, config: C) -> bool:
        """Whether this configuration can have any effect. A filter that can't is left out of the plan."""
        return True

    @classmethod
    def for_config(cls, config: C) -> type[HttpFilter[C]]:
        """The class whose instances serve this configuration: this one, or a leaner one.

        A hook that a configuration has no use for costs each request a call all the same, and an instance for each
        stream costs more than that; a class without them costs nothing.
        """
        return cls

    @classmethod
    def buffers_request(cls, config: C) -> bool:
        """Whether a filter with this configuration wants the request's body whole; `request_body` unless overridden."""
        return cls.request_body is BUFFER

    @classmethod
    def buffers_response(cls, config: C) -> bool:
        """Whether a filter with this configuration wants the response's body whole; `response_body` unless
        overridden."""
        return cls.response_body is BUFFER

    def wants_request_body(self) -> bool | BodyPart:
        """Whether this request is held until its body is whole, or a part of it is here. Asked of a filter that
        `buffers_request`, when its `on_request_headers` is done; to one that says no the body comes in pieces."""
        return True

    def wants_response_body(self) -> bool | BodyPart:
        """The same for the response, of a filter that `buffers_response`."""
        return True

    # The hooks. `data` of a body hook is never empty unless `end` is true.

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> HeadersResult:
        """The request's head has come."""

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> BodyResult:
        """A piece of the request's body, or all of it with BUFFER."""

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> HeadersResult:
        """The request ended with trailers."""

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> PlainResult:
        """A response's head is on its way to the client."""

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> BodyResult:
        """A piece of the response's body, or all of it with BUFFER. `LocalReply` isn't possible here."""

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> PlainResult:
        """The response ended with trailers."""

    def on_stream_complete(self, stream: Stream) -> None:
        """The stream is over, in whatever way; the access log is about to be written."""


class TerminalHttpFilter(HttpFilter[C]):
    """A filter that answers: the router, or a service of one's own. Its `on_request_headers` may wait and gives no
    reply but by `stream.reply`; its other request hooks are plain functions."""

    terminal: ClassVar[bool] = True

    def on_request_read_done(self, stream: Stream) -> None:
        """All that one read of the client's socket held has been handed over: write what was joined up.

        Also called for a stream whose request hasn't got here yet, and once more when a filter that waited goes on.
        """

    def on_response_blocked(self, blocked: bool, stream: Stream) -> None:
        """The client reads slower than we answer (True), or has caught up (False). Told only once the head is here."""
