"""What is done in parts or in steps comes out as if it were done at once."""

from __future__ import annotations

import asyncio
import random

from meshproxy.in_parts import PART, encoded_in_parts, sorted_in_parts
from meshproxy.runtime.process.in_turns import in_turns
from meshproxy.steps import Steps, batched, finish


def test_sorts_and_encodes_whatever_the_length() -> None:
    for length in (0, 1, PART - 1, PART, PART + 1, 3 * PART + 7):
        names = [f"{random.Random(length * 31 + at).random()}" for at in range(length)]
        assert sorted_in_parts(names) == sorted(names)
        assert b"".join(encoded_in_parts(iter(names))).decode() == "".join(names)


def test_batches_are_of_what_there_was_at_the_start() -> None:
    items = list(range(450))
    seen = []
    for part in batched(items):
        seen.append(len(part))
        items.append(0)
    assert seen == [200, 200, 50]


async def test_others_have_their_turns_between_steps() -> None:
    loop = asyncio.get_running_loop()
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1

    def steps() -> Steps[str]:
        until = loop.time() + 0.01
        while loop.time() < until:
            loop.call_soon(turn)
            yield
        return "done"

    assert await in_turns(steps()) == "done"
    assert turns > 1
    assert finish(steps()) == "done"
