"""Earliest deadline first: who is picked next among entries of different weight.

Each entry has a deadline, and the earliest is picked and put back 1/weight later; so an entry of weight 2 is picked
twice as often as one of weight 1, and the picks are spread evenly, which drawing at random would not do. Entries with
equal deadlines keep the order they were put in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heapreplace
from typing import Generic, TypeVar

T = TypeVar("T")


class EdfScheduler(Generic[T]):
    """Picks entries in proportion to their weights. `weight_of` is asked again each time an entry was picked."""

    __slots__ = ("_heap", "_order", "_weight_of")

    def __init__(self, entries: Iterable[T], weight_of: Callable[[T], float], skip: int = 0) -> None:
        """skip: how many picks to make at once, so that schedulers of the same entries don't run in step.

        Weights are greater than 0. Raises ValueError without any entry.
        """
        self._weight_of = weight_of
        self._heap = [(1.0 / weight_of(entry), order, entry) for order, entry in enumerate(entries)]
        if not self._heap:
            raise ValueError("nothing to pick from")
        heapify(self._heap)
        self._order = len(self._heap)
        for _ in range(skip):
            self.pick()

    def pick(self) -> T:
        """The entry with the earliest deadline."""
        deadline, _, entry = self._heap[0]
        self._order = order = self._order + 1
        heapreplace(self._heap, (deadline + 1.0 / self._weight_of(entry), order, entry))
        return entry
