"""Who owns the descriptor of a connection that ends as soon as it is there."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from typing import Any

from meshproxy.runtime.attach import attach
from tests import uv


class _Brief(asyncio.Protocol):
    """Ends its connection as soon as it has it, and is in a cycle with its transport like the real ones."""

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(None)


def test_a_descriptor_that_is_used_again_is_not_closed_by_the_collector() -> None:
    async def trial() -> None:
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        with far:
            near.setblocking(False)
            number = near.fileno()
            brief = _Brief()
            attach(loop, near, brief)
            del near
            await asyncio.wait_for(brief.lost, 5)
            for _ in range(5):
                await asyncio.sleep(0)  # the descriptor is closed in one of the next turns
            again = os.dup(far.fileno())
            try:
                assert again == number
                del brief
                gc.collect()
                os.fstat(again)  # raises when it was closed
            finally:
                os.close(again)

    uv.run(trial())


def test_a_caller_that_is_cancelled_leaves_the_transport_alone() -> None:
    async def trial() -> None:
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        with far:
            near.setblocking(False)
            brief = _Brief()

            async def caller() -> None:
                attach(loop, near, brief)
                await asyncio.sleep(10)

            task = loop.create_task(caller())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait_for(brief.lost, 5)  # connection_made was called, and so is its counterpart

    uv.run(trial())
