"""Records behave as the dataclasses of the standard library do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any

import pytest

from meshproxy import records

Decorator = Callable[..., Any]
DECORATORS = (dataclasses.dataclass, records.dataclass)


def make(decorator: Decorator, **options: bool) -> Any:
    class Shape:
        """For the options to be seen on."""

        name: str
        sides: int = 4
        tags: list[str] = field(default_factory=list)
        note: str = field(default="", compare=False, repr=False)
        area: int = field(init=False)
        count: int = field(init=False, default=7)

        def __post_init__(self) -> None:
            object.__setattr__(self, "area", self.sides * 2)

    Shape.__qualname__ = "Shape"
    return decorator(**options)(Shape)


OPTIONS = [
    dict(zip(("frozen", "slots", "eq"), (bool(bits & 4), bool(bits & 2), bool(bits & 1)), strict=True))
    for bits in range(8)
]


@pytest.mark.parametrize("options", OPTIONS)
def test_values_text_and_comparison(options: dict[str, bool]) -> None:
    told = []
    for decorator in DECORATORS:
        shape = make(decorator, **options)
        one, same, other = shape("a", tags=["x"]), shape("a", 4, ["x"], note="n"), shape("b", 3)
        assert one.tags is not shape("a").tags
        facts = [(each.name, each.init, each.compare) for each in fields(one)]
        values = [dataclasses.asdict(each) for each in (one, same, other, replace(other, name="c"))]
        told.append((facts, values, repr(one), one == same, one != other, one == "a", hasattr(one, "__dict__")))
    assert told[0] == told[1]


@pytest.mark.parametrize("options", OPTIONS)
def test_hashes(options: dict[str, bool]) -> None:
    for decorator in DECORATORS:
        shape: Any = decorator(**options)(type("Point", (), {"__annotations__": {"x": "int", "y": "int"}}))
        one = shape(1, 2)
        if options["eq"] and not options["frozen"]:
            with pytest.raises(TypeError):
                hash(one)
        elif options["eq"]:
            assert hash(one) == hash(shape(1, 2)) == hash((1, 2))
        else:
            assert hash(one) != hash(shape(1, 2))


def test_frozen_means_frozen() -> None:
    for decorator in DECORATORS:
        one = make(decorator, frozen=True, slots=True)("a")
        with pytest.raises(FrozenInstanceError):
            one.name = "b"
        with pytest.raises(FrozenInstanceError):
            del one.name


@pytest.mark.parametrize("arguments", [(), ("a", 1, [], "", 2), ("a", "b")])
def test_wrong_arguments(arguments: tuple[Any, ...]) -> None:
    for decorator in DECORATORS:
        shape: Any = decorator(frozen=True)(type("Single", (), {"__annotations__": {"x": "int"}}))
        with pytest.raises(TypeError):
            shape(*arguments)
        shape(1)
        with pytest.raises(TypeError):
            shape(x=1, y=2)


def test_a_class_below_another() -> None:
    @records.dataclass(frozen=True, slots=True)
    class Base:
        x: int
        y: int = 2

    @records.dataclass(frozen=True, slots=True)
    class Below(Base):
        z: int = 3

        def __repr__(self) -> str:
            return "its own"

    below = Below(1)
    assert (below.x, below.y, below.z, repr(below)) == (1, 2, 3, "its own")
    assert below == Below(1, 2, 3) != Base(1)
    assert Base(1) == Base(1, 2)
    match below:
        case Below(x, y, z):
            assert (x, y, z) == (1, 2, 3)
