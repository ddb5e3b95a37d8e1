"""Variables that one part of the agent alone reads, where it reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from meshproxy.errors import ConfigError, Problem

T = TypeVar("T")


def read_variable(variables: Mapping[str, str], name: str, otherwise: str, parse: Callable[[str], T]) -> T:
    """What `parse` makes of it, or of `otherwise` where it isn't set. Raises ConfigError for its ValueError."""
    try:
        return parse(variables.get(name, "") or otherwise)
    except ValueError as error:
        raise ConfigError(Problem(name, str(error), "environment")) from None
