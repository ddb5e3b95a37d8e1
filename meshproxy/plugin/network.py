"""Network filters: they see a connection's bytes. The last one of a chain is terminal and decides what becomes of them.

One instance serves one connection. Read hooks run first to last, write hooks last to first. `None` passes the data on
unchanged, `bytes` pass something else on, b"" swallows them. A hook may be `async def`: while it waits the connection
is not read.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from meshproxy.plugin.context import Connection, FactoryContext, Logger
from meshproxy.plugin.stats import StatsScope

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

C = TypeVar("C")

DataResult = bytes | None | Awaitable[bytes | None]


class NetworkFilter(Generic[C]):
    """Base class of network filters. `config_type` and `terminal` as for `HttpFilter`."""

    config_type: ClassVar[type[Any] | None] = None
    terminal: ClassVar[bool] = False

    def __init__(self, config: C, context: FactoryContext) -> None:
        self.config = config
        self.context = context

    @property
    def stats(self) -> StatsScope:
        return self.context.stats

    @property
    def log(self) -> Logger:
        return self.context.log

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> C:
        """Turn the filter's message into what its instances use; runs once. Raises ConfigError."""
        view.fail(f"{cls.__name__} takes its configuration as a TypedStruct")

    @classmethod
    def compile_struct(cls, config: Any, context: FactoryContext) -> C:
        """`compile` for a filter with a `config_type`: `config` is one, read and checked.

        What this returns all instances share: the place for counters, tables and caches. Raises ValueError for values
        that can't be used together.
        """
        return cast("C", config)

    @classmethod
    def for_worker(cls, config: Any, context: FactoryContext, listener_stats: StatsScope) -> Any:
        """Make what the instances of one worker share out of the compiled configuration; they get it as `config`."""
        return config

    def on_new_connection(self, connection: Connection) -> Awaitable[None] | None:
        """The connection is there; close it here to refuse it."""

    def on_data(self, data: bytes, end: bool, connection: Connection) -> DataResult:
        """Bytes from the client; `end`: it will send no more."""

    def on_write(self, data: bytes, end: bool, connection: Connection) -> DataResult:
        """Bytes on their way to the client."""

    def on_write_blocked(self, blocked: bool, connection: Connection) -> None:
        """More than the buffer limit waits for the client (True), or it has caught up (False)."""

    def on_read_done(self, connection: Connection) -> None:
        """All that one read of the socket held has been handed over: write what was joined up."""

    def is_busy(self) -> bool:
        """Whether a drain should wait for this connection: something is under way that closing would lose."""
        return self.terminal

    def on_refused(self, connection: Connection) -> None:
        """The connection is over, and a filter before this one kept it from us; instead of `on_close`."""

    def on_drain(self, connection: Connection) -> None:
        """The process is about to end and waits for what is under way: tell the peer, if the protocol can. Called again
        and again; when nothing is under way the connection is closed."""

    def on_close(self, connection: Connection) -> None:
        """The connection is over; called exactly once for each filter that heard of its beginning."""
