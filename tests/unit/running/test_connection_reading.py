"""What a connection does with bytes that come while a filter has turned reading off, or while a hook waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any, cast

from meshproxy.clock import SystemClock
from meshproxy.plugin.context import Connection
from meshproxy.plugin.listener import Socket
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.stream_info import ConnectionInfo
from meshproxy.runtime.downstream.connection import ServerConnection


class Transport:
    reading = True

    def set_write_buffer_limits(self, high: int) -> None: ...

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Asks(NetworkFilter[None]):
    """Has something to find out before anything is read."""

    def __init__(self, config: None, context: Any) -> None:
        super().__init__(config, context)
        self.found = asyncio.get_running_loop().create_future()

    def on_new_connection(self, connection: Connection) -> Awaitable[None]:
        return self.found


class Last(NetworkFilter[None]):
    """Reads nothing before it is told to, as a filter that connects to a host."""

    def __init__(self, config: None, context: Any) -> None:
        super().__init__(config, context)
        self.read: list[tuple[bytes, bool]] = []

    def on_new_connection(self, connection: Connection) -> None:
        connection.read_disable(True)

    def on_data(self, data: bytes, end: bool, connection: Connection) -> None:
        self.read.append((data, end))


def opened(*kinds: type[NetworkFilter[None]]) -> tuple[ServerConnection, Transport, Any, Last]:
    """As uvloop opens it: what has come is read before anything that was put off."""
    worker: Any = SimpleNamespace(loop=asyncio.get_running_loop(), clock=SystemClock(), clusters={})
    facts = Socket(("127.0.0.1", 2), ("127.0.0.1", 1), ("127.0.0.1", 2), ("127.0.0.1", 1))
    makers = [(kind, None, cast("Any", None)) for kind in kinds]
    listener: Any = SimpleNamespace(per_connection_buffer_limit=1000)
    connection = ServerConnection(worker, listener, makers, facts, ConnectionInfo(), lambda _: None)
    transport = Transport()
    connection.connection_made(transport)
    transport.reading = True
    connection.data_received(b"early")
    last = connection.terminal
    assert isinstance(last, Last)
    return connection, transport, connection._filters[0], last


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_comes_before_reading_is_off_is_kept_until_it_is_on() -> None:
    connection, transport, _, last = opened(Last)
    await turn()
    assert not transport.reading
    assert last.read == []
    connection.read_disable(False)
    connection.data_received(b"late")
    connection.eof_received()
    await turn()
    assert last.read == [(b"early", False), (b"late", False), (b"", True)]
    connection.read_disable(True)
    connection.read_disable(False)
    connection.data_received(b"at once")
    assert last.read[3:] == [(b"at once", False)]


async def test_reading_that_is_on_again_at_once_loses_nothing() -> None:
    connection, transport, _, last = opened(Last)
    connection.read_disable(False)
    await turn()
    assert transport.reading
    assert last.read == [(b"early", False)]


async def test_a_filter_behind_one_that_waited_is_asked_first() -> None:
    connection, transport, asks, last = opened(Asks, Last)
    await turn()
    assert not transport.reading
    asks.found.set_result(None)
    await turn()
    assert last.read == []
    connection.read_disable(False)
    await turn()
    assert last.read == [(b"early", False)]
    assert transport.reading
