"""The token bucket: a function of time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproxy_filters.token_bucket import TokenBucket


def test_it_is_full_at_first_and_empties() -> None:
    bucket = TokenBucket(3, 1.0, now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.tokens(100.0) == 0


def test_it_fills_steadily_up_to_its_maximum() -> None:
    bucket = TokenBucket(2, 0.5, now=0.0)
    assert bucket.take(0.0, 2)
    assert not bucket.take(1.9)
    assert bucket.take(2.1)
    assert bucket.tokens(1000.0) == 2


def test_more_than_there_is_takes_nothing() -> None:
    bucket = TokenBucket(3, 1.0, now=0.0)
    assert not bucket.take(0.0, 4)
    assert bucket.tokens(0.0) == 3


def test_nothing_can_not_be_taken() -> None:
    assert not TokenBucket(3, 1.0, now=0.0).take(0.0, 0)


@pytest.mark.parametrize(("waited", "reset"), [(0.0, 10), (0.5, 10), (9.5, 1), (10.0, 0)])
def test_when_there_is_a_token_again(waited: float, reset: int) -> None:
    bucket = TokenBucket(1, 0.1, now=0.0)
    assert bucket.take(0.0)
    assert bucket.reset_seconds(waited) == reset


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 5), st.sampled_from([0.5, 1.0, 4.0]))
def test_never_more_than_the_maximum_and_what_came_since(pauses: list[float], maximum: int, rate: float) -> None:
    now = 0.0
    bucket = TokenBucket(maximum, rate, now)
    taken = 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
        assert taken <= maximum + now * rate + 1e-6
