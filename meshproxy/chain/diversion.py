"""A body that goes into a filter piece by piece, and what that filter says comes out in its place.

Where a hook gives a piece and gets back what becomes of it, here nothing is given back: what goes in ends there, and
what comes out comes when the filter likes, from outside of any hook. So the chain has two ends of its own at such a
filter: pieces from the source stop at it (`take_body`), and those that come out begin behind it. The head may have gone
on before, or goes when the filter says so; nothing comes out before the head.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from meshproxy.headers import Headers
from meshproxy.plugin.calls import Outlet

if TYPE_CHECKING:
    from meshproxy.chain.http_stream import FilterStream


class Diversion(Outlet):
    """One direction's, at the filter at `position`.

    resume_at: the hook for heads that is next, once the filter's own is done. behind, trailers_behind: so for bodies
    and trailers. over: all has come out.
    """

    __slots__ = ("_behind", "_stream", "_trailers", "_trailers_behind", "head_is_out", "over", "position", "resume_at")

    def __init__(self, stream: FilterStream, giver: Any, holds_head: bool) -> None:
        self._stream = stream
        self.position = next(i for i, each in enumerate(stream.filters) if each.stands_for(giver))
        self.resume_at = -1
        self.head_is_out = not holds_head
        self.over = False
        self._behind, self._trailers_behind = map(self._hooks_until_here, self._hooks())
        self._trailers: Headers | None = None

    # What comes in.

    def take_body(self, data: bytes, end: bool) -> None:
        if not self.over:
            self._run(self._body_hook, data, end)

    def take_trailers(self, trailers: Headers) -> None:
        if not self.over:
            self._trailers = trailers
            self._run(self._trailers_hook, trailers)

    # What comes out.

    def head(self) -> None:
        if not self.head_is_out:
            self.head_is_out = True
            if self.resume_at >= 0:  # else the filter's own hook for heads still runs, and the head goes on behind it
                self._pass_head()

    def body(self, data: bytes, end: bool) -> None:
        if not self.over and (data or end):
            self.over = end
            self._pass_piece(data, end, self._behind)

    def trailers(self) -> None:
        if not self.over and self._trailers is not None:
            self.over = True
            self._forget()
            self._pass_piece(self._trailers, True, self._trailers_behind)

    def let_go(self, ended: bool) -> None:
        self.head()
        self._forget()
        if self._trailers is not None:
            self.trailers()
        elif ended:
            self.body(b"", True)

    # Of each direction.

    @abstractmethod
    def _hooks(self) -> tuple[Sequence[int], Sequence[int]]:
        """Which filters have hooks for bodies and for trailers, in the order of the direction."""

    @abstractmethod
    def _hooks_until_here(self, hooks: Sequence[int]) -> int: ...

    @abstractmethod
    def _run(self, hook: Callable[..., Any], *args: Any) -> None:
        """Run a hook of the filter, and contain its fault."""

    @abstractmethod
    def _body_hook(self, data: bytes, end: bool) -> None: ...

    @abstractmethod
    def _trailers_hook(self, trailers: Headers) -> None: ...

    @abstractmethod
    def _pass_head(self) -> None: ...

    @abstractmethod
    def _pass_piece(self, piece: bytes | Headers, end: bool, at: int) -> None: ...

    @abstractmethod
    def _forget(self) -> None:
        """What comes from now on isn't taken."""


class RequestDiversion(Diversion):
    __slots__ = ()

    def _hooks(self) -> tuple[Sequence[int], Sequence[int]]:
        return self._stream.plan.request_body, self._stream.plan.request_trailers

    def _hooks_until_here(self, hooks: Sequence[int]) -> int:
        return sum(each <= self.position for each in hooks)

    def _run(self, hook: Callable[..., Any], *args: Any) -> None:
        try:
            hook(*args)
        except Exception as error:  # a filter is foreign code: its fault must stay its stream's
            self._stream.contain(self.position, error)

    def _body_hook(self, data: bytes, end: bool) -> None:
        self._stream.filters[self.position].on_request_body(data, end, self._stream)

    def _trailers_hook(self, trailers: Headers) -> None:
        self._stream.filters[self.position].on_request_trailers(trailers, self._stream)

    def _pass_head(self) -> None:
        self._stream.resume_request(self.resume_at)

    def _pass_piece(self, piece: bytes | Headers, end: bool, at: int) -> None:
        self._stream.resume_request_piece(piece, end, at)

    def _forget(self) -> None:
        self._stream.request_diverted = None

    def block(self, blocked: bool) -> None:
        if not self._stream.request_over:
            self._stream.read_disable(blocked)


class ResponseDiversion(Diversion):
    __slots__ = ()

    def _hooks(self) -> tuple[Sequence[int], Sequence[int]]:
        return self._stream.plan.response_body, self._stream.plan.response_trailers

    def _hooks_until_here(self, hooks: Sequence[int]) -> int:
        return sum(each >= self.position for each in hooks)

    def _run(self, hook: Callable[..., Any], *args: Any) -> None:
        try:
            hook(*args)
        except Exception as error:  # a filter is foreign code: its fault must stay its stream's
            self._stream.contain_response(self.position, error)

    def _body_hook(self, data: bytes, end: bool) -> None:
        self._stream.filters[self.position].on_response_body(data, end, self._stream)

    def _trailers_hook(self, trailers: Headers) -> None:
        self._stream.filters[self.position].on_response_trailers(trailers, self._stream)

    def _pass_head(self) -> None:
        self._stream.resume_response(self.resume_at)

    def _pass_piece(self, piece: bytes | Headers, end: bool, at: int) -> None:
        self._stream.resume_response_piece(piece, end, at)

    def _forget(self) -> None:
        self._stream.response_diverted = None

    def block(self, blocked: bool) -> None:
        if not self._stream.done:
            self._stream.block_response(blocked)
