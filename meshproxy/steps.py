"""Long work in steps: a generator that yields wherever somebody else may have a turn, and returns what comes of it.

A push may have thousands of resources, and the loop that takes them carries traffic too. Whoever drives the steps
decides when the next one is due; between two of them anything may happen but the next response of the same stream.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]

Outcome = Mapping[str, str] | Steps[Mapping[str, str]]
"""What an update gives: what is wrong, by name; or the steps that lead to that."""


def finish(steps: Steps[T]) -> T:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def settle(outcome: Outcome) -> Mapping[str, str]:
    """What is wrong, after all steps, if there are any."""
    return finish(outcome) if isinstance(outcome, Generator) else outcome


def in_steps(outcome: Outcome) -> Steps[Mapping[str, str]]:
    """The same for whoever takes steps as well."""
    if isinstance(outcome, Generator):
        outcome = yield from outcome
    return outcome


def batched(items: Iterable[T], size: int = 200) -> Iterator[list[T]]:
    """The items as they are now, so many at a time: a step for each of many small ones would cost more than they do."""
    now = list(items)
    for start in range(0, len(now), size):
        yield now[start : start + size]
