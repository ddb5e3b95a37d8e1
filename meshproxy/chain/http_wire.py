"""What a stream on its way through filters needs of whoever carries it: the runtime over sockets, or the harness."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.plugin.context import Stream
from meshproxy.plugin.replies import LocalReply


class Suspended(ABC):
    """A hook that waits for something: what `run_hook` returns in place of its value."""

    __slots__ = ()

    @abstractmethod
    def then(self, resume: Callable[..., None], *args: Any) -> None:
        """At its end call `resume(*args, value, error)`. To be called once, and at once."""


class HttpWire(Stream):
    """The ends of the pipelines: where a response goes to, and how hooks are run."""

    @abstractmethod
    def encode_headers(self, response: ResponseHeaders, end: bool) -> None: ...

    @abstractmethod
    def encode_body(self, data: bytes, end: bool) -> None: ...

    @abstractmethod
    def encode_trailers(self, trailers: Headers) -> None: ...

    @abstractmethod
    def block_response(self, blocked: bool) -> None:
        """A response hook waits: stop (or go on) feeding the response."""

    @abstractmethod
    def shape_reply(self, reply: LocalReply) -> tuple[ResponseHeaders, bytes]:
        """The head and body of a local reply, gRPC and `local_reply_config` considered."""

    @abstractmethod
    def run_hook(self, hook: Awaitable[Any]) -> Any:
        """Run an `async` hook as far as it goes without waiting.

        Returns its value, or a `Suspended`. Raises what the hook raised before it suspended. A hook that still waits
        when the stream is over is cancelled.
        """
