"""A client's connection as a network filter sees it. Abstract, as `stream` is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from meshproxy.clock import Clock
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.listener import AccessLog
from meshproxy.plugin.services import Timer
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo

if TYPE_CHECKING:
    from meshproxy.plugin.upstream import ClusterManager


class Connection(ABC):
    """A downstream connection, as a network filter sees it.

    info: addresses, SNI, TLS. stream: the facts that access logs of a connection read.
    """

    info: ConnectionInfo
    clusters: ClusterManager
    clock: Clock

    @property
    @abstractmethod
    def stream(self) -> StreamInfo:
        """The facts of the connection as a whole: of TCP, and for the listener's own access log."""

    @abstractmethod
    def write(self, data: bytes, end: bool = False) -> None:
        """Send bytes through the write hooks; `end` half-closes after them."""

    @abstractmethod
    def close(self, *, reset: bool = False, delay: float = 0.0) -> None:
        """Close: after what was written, or at once with RST.

        delay: seconds to wait for the peer's close after our FIN's data, so that it can read them.
        """

    @abstractmethod
    def read_disable(self, disable: bool) -> None:
        """Stop or go on reading; calls nest."""

    @abstractmethod
    def schedule(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back after `delay` seconds, unless the connection is closed by then (see `Stream.schedule`)."""

    @abstractmethod
    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait on the proxy's clock."""

    @abstractmethod
    def run(self, work: Awaitable[None]) -> None:
        """Let something go on that may have to wait, from where no hook could: a timer, an upstream's callback.

        Nobody waits for it. What it raises ends the connection, as it would from a hook.
        """

    @abstractmethod
    async def call_grpc(self, service: GrpcService, path: str, message: bytes) -> bytes:
        """See `Stream.call_grpc`."""

    @abstractmethod
    def log_access(self, logs: Sequence[AccessLog], info: StreamInfo) -> None:
        """Write `info` to those of `logs` whose filter lets it pass."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """The socket is gone, or about to be."""

    @property
    @abstractmethod
    def leaving_now(self) -> bool:
        """Whether whoever is served on it now should be told to go: by chance while a drain is under way, so that not
        all go at once; always where the operator has had health checks fail."""

    @abstractmethod
    def original_destination(self) -> tuple[str, int] | None:
        """Where the peer was going before the kernel or a PROXY protocol line brought it here."""
