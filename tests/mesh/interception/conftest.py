"""Skips everything here, with the reason, where network namespaces can't be made."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from .pods import Pods, why_not

HERE = Path(__file__).parent
reason = functools.cache(why_not)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.root)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if HERE in item.path.parents and reason():
        pytest.skip(reason())


@pytest.fixture
def pods() -> Iterator[Pods]:
    """Two fresh pods without rules."""
    made = Pods()
    yield made
    made.close()
