"""A listener filter that fails ends its connection, and nothing else."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from meshproxy.plugin.listener import ListenerFilter, Peeked, Socket
from meshproxy.runtime.downstream.listener_filters import ERROR, FilterRun


class FailsAtOnce(ListenerFilter[Any]):
    def on_accept(self, socket: Socket) -> None:
        raise ValueError("at once")


class FailsAtTheFirstBytes(ListenerFilter[Any]):
    max_peek = 10

    def on_peek(self, data: bytes, end: bool, socket: Socket) -> Peeked:
        raise ValueError("at the first bytes")


class FailsAfterAWhile(FailsAtTheFirstBytes):
    async def on_accept(self, socket: Socket) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", [FailsAtOnce, FailsAtTheFirstBytes, FailsAfterAWhile])
async def test_the_connection_is_refused(kind: type[ListenerFilter[Any]]) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.send(b"hello")
    logged: list[str] = []
    worker: Any = SimpleNamespace(
        loop=loop,
        log=SimpleNamespace(error=lambda text, **more: logged.append(more["error"])),
        schedule=loop.call_later,
    )
    spec = SimpleNamespace(filter_class=kind, config=None, context=None)
    placed = SimpleNamespace(skips=None, current=lambda: spec)
    listener: Any = SimpleNamespace(name="l", listener_filters=[placed], listener_filters_timeout=5.0)
    refused: asyncio.Future[str] = loop.create_future()
    nowhere = ("", 0)
    FilterRun(worker, listener, ours, Socket(nowhere, nowhere, nowhere, nowhere), refused.set_result).run()
    assert await asyncio.wait_for(refused, 5) == ERROR
    assert "ValueError" in logged[0]
    ours.close()
    theirs.close()
