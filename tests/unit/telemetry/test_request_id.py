"""Request ids."""

from __future__ import annotations

import random
import uuid

import pytest

from meshproxy.telemetry.request_id import (
    CLIENT,
    FORCED,
    NOT_TRACED,
    SAMPLED,
    id_source,
    stable_value,
    trace_reason,
    with_trace_reason,
)


def test_ids_are_random_uuids() -> None:
    new_id = id_source(random.Random(1).getrandbits)
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    for text in ids:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
    for place in (0, 9, 15, 35):
        assert {text[place] for text in ids} == set("0123456789abcdef")
    assert {text[19] for text in ids} == set("89ab")


@pytest.mark.parametrize("bits", [0, (1 << 128) - 1])
def test_extreme_bits(bits: int) -> None:
    assert uuid.UUID(id_source(lambda count: bits)()).version == 4


@pytest.mark.parametrize("reason", [NOT_TRACED, SAMPLED, FORCED, CLIENT])
def test_reason_is_digit_14_and_nothing_else_changes(reason: str) -> None:
    new = id_source(random.Random(1).getrandbits)()
    marked = with_trace_reason(new, reason)
    assert trace_reason(marked) == marked[14] == reason
    assert with_trace_reason(marked, NOT_TRACED) == new


def test_foreign_ids_are_left_alone() -> None:
    assert with_trace_reason("mine", SAMPLED) == "mine"
    assert trace_reason("mine") == NOT_TRACED
    assert trace_reason("0" * 36) == NOT_TRACED


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0000000a-1b60-4a7b-9c5e-0a7f6d0f6f11", 10),
        ("FFFFFFFF-x", 0xFFFFFFFF),
        ("+000000a-", None),
        ("0_00000a-", None),
        ("", None),
        ("abc", None),
    ],
)
def test_stable_value(text: str, value: int | None) -> None:
    assert stable_value(text) == value
