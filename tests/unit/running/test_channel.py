"""Questions and answers, cut anywhere, and an end that goes away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshproxy.runtime.workers.channel import AnsweringEnd, AskingEnd, ChannelClosed, _Frames


class Wire:
    """Carries bytes to the other end, in pieces of one size."""

    def __init__(self, size: int) -> None:
        self.other: _Frames | None = None
        self.size = size
        self.closed = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def write(self, data: bytes) -> None:
        assert self.other is not None
        for start in range(0, len(data), self.size):
            self.other.data_received(data[start : start + self.size])


def pair(size: int, perform: Any) -> tuple[AskingEnd, AnsweringEnd, list[str]]:
    gone: list[str] = []
    asking, answering = AskingEnd(), AnsweringEnd(perform, lambda: gone.append("gone"))
    there, back = Wire(size), Wire(size)
    there.other, back.other = answering, asking
    asking.connection_made(there)
    answering.connection_made(back)
    return asking, answering, gone


@pytest.mark.parametrize("size", [1, 3, 4, 7, 100_000])
async def test_answers_in_order(size: int) -> None:
    asking, _, _ = pair(size, lambda command, argument: {command: (argument, 1.5)})
    answers = list(await asyncio.gather(asking.ask("a", [1], 1), asking.ask("b", {2: "x" * 1000}, 1)))
    assert answers == [{"a": ([1], 1.5)}, {"b": ({2: "x" * 1000}, 1.5)}]


async def test_a_command_that_fails_fails_alone() -> None:
    def perform(command: str, argument: Any) -> Any:
        if command == "bad":
            raise KeyError(command)
        return argument

    asking, _, _ = pair(10, perform)
    with pytest.raises(RuntimeError, match="KeyError"):
        await asking.ask("bad", None, 1)
    assert await asking.ask("good", 7, 1) == 7


async def test_an_end_that_goes_away() -> None:
    asking, answering, gone = pair(10, lambda command, argument: None)
    assert asking.transport is not None
    asking.transport.other = _Deaf()
    question = asyncio.ensure_future(asking.ask("x", None, 1))
    await asyncio.sleep(0)
    asking.connection_lost(None)
    with pytest.raises(ChannelClosed):
        await question
    answering.connection_lost(None)
    assert gone == ["gone"]
    asking.transport.close()
    with pytest.raises(ChannelClosed):
        await asking.ask("x", None, 1)


class _Deaf(_Frames):
    def received(self, value: Any) -> None:
        pass
