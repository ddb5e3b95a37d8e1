"""Calls that a filter makes of its own (`Stream.fetch`, `Stream.open_grpc`): what comes back, and what may go wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from meshproxy.headers import ResponseHeaders
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.replies import ResetReason


@dataclass(frozen=True, slots=True)
class FetchReply:
    """The answer to `Stream.fetch`."""

    status: int
    headers: ResponseHeaders
    body: bytes


class FetchError(Exception):
    """`fetch` got no answer: unknown cluster, no healthy host, time-out, a reset, or a body over the limit.

    reason: of a reset before there was an answer.
    """

    def __init__(self, message: str, reason: ResetReason | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class GrpcError(Exception):
    """A gRPC call failed. status: gRPC's, 14 where nobody could be asked and 4 where no answer came in time."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"status {status}: {message}" if message else f"status {status}")
        self.status = status


class GrpcListener(Protocol):
    """Hears a call as it goes, from outside of any hook."""

    def on_call_message(self, message: bytes) -> bool:
        """A message has come. Returns whether it is dealt with; else it waits for `receive`."""

    def on_call_end(self, error: GrpcError | None) -> None:
        """The service has ended the call, in order unless there is an error."""

    def on_call_blocked(self, blocked: bool) -> None:
        """The service can't take more (True), or can again."""


class Outlet(ABC):
    """Where a filter says what goes on behind it, in place of a body that goes to it piece by piece; see
    `Stream.divert_request`. To be used from outside of hooks."""

    @abstractmethod
    def head(self) -> None:
        """The head goes on, if it hasn't; to be called before anything else."""

    @abstractmethod
    def body(self, data: bytes, end: bool) -> None:
        """A piece of body; with `end` the message is over, and what still comes in goes nowhere."""

    @abstractmethod
    def trailers(self) -> None:
        """The trailers that have come go on, and the message is over."""

    @abstractmethod
    def let_go(self, ended: bool) -> None:
        """What comes from now on passes, after the head. ended: all of the body came before."""

    @abstractmethod
    def block(self, blocked: bool) -> None:
        """Stop, or go on, reading the message."""


class GrpcCall(ABC):
    """A call with messages both ways."""

    @abstractmethod
    def send(self, message: bytes) -> None:
        """Send a serialised message; after the end of the call it goes nowhere."""

    @abstractmethod
    async def receive(self, timeout: float | None = None) -> bytes | None:
        """The next message; None when the service has ended the call in order.

        Raises GrpcError when it ended otherwise, TimeoutError after `timeout` seconds.
        """

    @abstractmethod
    def listen(self, listener: GrpcListener) -> None:
        """`listener` hears everything first."""

    @abstractmethod
    def ignore(self) -> None:
        """What the service says isn't kept."""

    @abstractmethod
    def end(self, after: float = 0.0) -> None:
        """No more will be sent or read. after: the service has so many seconds yet for what it was sent."""
