"""What runtime values mean, and that what follows them does."""

from __future__ import annotations

import gc
import random
from typing import Any

import pytest

from meshproxy.matching import FractionalPercent
from meshproxy.runtime_values import (
    RuntimeShare,
    RuntimeValues,
    as_flag,
    as_integer,
    as_number,
    as_numerator,
    as_share,
)


@pytest.mark.parametrize(
    ("value", "flag", "integer", "number", "share"),
    [
        (5, True, 5, 5.0, (5, 100)),
        (0, False, 0, 0.0, (0, 100)),
        (2.9, None, 2, 2.9, (2, 100)),
        (101, True, 101, 101.0, (100, 100)),
        (-1, True, None, -1.0, None),
        (True, True, None, None, None),
        ("text", None, None, None, None),
        (None, None, None, None, None),
        ({"numerator": 3, "denominator": "TEN_THOUSAND"}, None, None, None, (3, 10000)),
        ({"numerator": 3}, None, None, None, (3, 100)),
        ({"denominator": "MILLION"}, None, None, None, (0, 1000000)),
        ({"numerator": 3, "other": 1}, None, None, None, None),
        ({"numerator": 3, "denominator": "FEW"}, None, None, None, None),
        (2.0**65, None, None, 2.0**65, None),
    ],
)
def test_meanings(
    value: Any, flag: bool | None, integer: int | None, number: float | None, share: tuple[int, int] | None
) -> None:
    default = FractionalPercent(42)
    for unset in (False, True):
        assert as_flag(value, unset) is (unset if flag is None else flag)
    assert as_integer(value, 77) == (77 if integer is None else integer)
    assert as_number(value, 7.5) == (7.5 if number is None else number)
    assert as_share(value, default) == (default if share is None else FractionalPercent(*share))


def test_a_numerator_counts_in_the_configured_denominator() -> None:
    assert as_numerator(30, FractionalPercent(1, 10_000)) == FractionalPercent(30, 10_000)
    assert as_numerator({"numerator": 30}, FractionalPercent(1, 10_000)) == FractionalPercent(1, 10_000)


def test_everything_follows_its_key() -> None:
    values = RuntimeValues({"n": 3})
    integer, number = values.integer("n", 1), values.number("n", 1.0)
    flag, keyless = values.flag("f", True), values.integer("", 9)
    share = values.share("n", FractionalPercent(50))
    draws = share.sampler(random.Random(1))
    assert (integer.value, number.value, flag.value, keyless.value) == (3, 3.0, True, 9)
    assert [share.covers(each) for each in (2, 3, 102)] == [True, False, True]

    values.replace({"n": 100, "f": False, "": 4})
    assert (integer.value, number.value, flag.value, keyless.value) == (100, 100.0, False, 9)
    assert share.covers(99)
    assert all(draws() for _ in range(50))

    values.replace({})
    assert (integer.value, flag.value, share.numerator) == (1, True, 50)
    values.replace({"n": 0})
    assert not any(draws() for _ in range(50))


def test_where_nothing_can_change_a_share_is_a_plain_one() -> None:
    fixed = RuntimeValues({"n": 3}, fixed=True)
    assert fixed.share("n", FractionalPercent(50)) == FractionalPercent(3)
    assert not fixed.share("n0", FractionalPercent(0)).possible
    open_ended = RuntimeValues()
    assert open_ended.share("", FractionalPercent(0)) == FractionalPercent(0)
    later = open_ended.share("n", FractionalPercent(0))
    assert isinstance(later, RuntimeShare)
    assert later.possible


def test_a_change_is_told_once() -> None:
    values, seen = RuntimeValues(), []
    live = values.integer("n", 1)
    live.changed = lambda: seen.append(live.value)
    for mapping in ({"n": 2}, {"n": 2}, {"n": 2, "m": 1}, {"n": 5}):
        values.replace(mapping)
    assert seen == [2, 5]


def test_what_nobody_holds_any_more_follows_no_more() -> None:
    values = RuntimeValues()
    kept = [values.integer("n", number) for number in range(3)]
    for number in range(1000):
        values.share("n", FractionalPercent(number % 100))
    gc.collect()
    assert len(values._followers) == len(kept)
