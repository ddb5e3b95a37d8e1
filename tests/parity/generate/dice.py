"""Draws: the same seed makes the same choices."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
EXTENSIONS = "type.googleapis.com/envoy.extensions"


class Dice(random.Random):
    def often(self, likelihood: float) -> bool:
        return self.random() < likelihood

    def some(self, items: Sequence[T], least: int = 0, most: int | None = None) -> list[T]:
        """A few of them, in any order."""
        most = len(items) if most is None else min(most, len(items))
        return self.sample(list(items), self.randint(min(least, most), most))

    def fields(self, likelihood: float, **makers: Callable[[], Any] | Any) -> dict[str, Any]:
        """Each with its likelihood; what can be called makes the value."""
        return {name: make() if callable(make) else make for name, make in makers.items() if self.random() < likelihood}

    def one_of(self, **makers: Callable[[], Any] | Any) -> dict[str, Any]:
        name = self.choice(list(makers))
        make = makers[name]
        return {name: make() if callable(make) else make}


def typed(name: str, type_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """An extension. type_name: behind `envoy.extensions.`, or a whole name."""
    full = f"type.googleapis.com/{type_name}" if type_name.startswith("envoy.") else f"{EXTENSIONS}.{type_name}"
    return {"name": name, "typed_config": {"@type": full, **config}}
