"""A stateless filter has one instance for all streams; every other one has an instance for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.testing import FilterHarness


@dataclass(frozen=True, slots=True)
class Book:
    """Where the instances sign."""

    met: list[HttpFilter[Book]] = field(default_factory=list)


class Witness(HttpFilter[Book]):
    """Notes which instance each request met."""

    stateless: ClassVar[bool] = False

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        self.config.met.append(self)


class SharedWitness(Witness):
    stateless: ClassVar[bool] = True


@pytest.mark.parametrize(("kind", "instances"), [(Witness, 3), (SharedWitness, 1)])
def test_how_many_instances_serve_three_streams(kind: type[Witness], instances: int) -> None:
    book = Book()
    harness = FilterHarness(kind, book)
    for _ in range(3):
        assert harness.request("GET", "/").response is not None
    assert len(book.met) == 3
    assert len({id(one) for one in book.met}) == instances
