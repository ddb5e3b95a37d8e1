"""DNS messages as bytes: what is answered to a question, and that nothing else is taken for an answer."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproxy.runtime.dns.dns_message import AAAA, A, MalformedAnswer, decode_answer, encode_query

QUERY = encode_query(0x1234, "a.test", A)
OWNER = b"\xc0\x0c"


def record(owner: bytes, kind: int, ttl: int, data: bytes) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def message(*records: bytes, identity: int = 0x1234, flags: int = 0x8180, query: bytes = QUERY) -> bytes:
    return struct.pack("!HHHHHH", identity, flags, 1, len(records), 0, 0) + query[12:] + b"".join(records)


def test_a_query_on_the_wire() -> None:
    assert QUERY.hex() == "12340100000100000000000001610474657374" + "00" + "00010001"
    assert encode_query(1, "a.test.", AAAA).endswith(b"\x01a\x04test\x00\x00\x1c\x00\x01")


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64 + ".test", ".".join(["x" * 60] * 5)])
def test_what_is_not_a_name(name: str) -> None:
    with pytest.raises(ValueError):
        encode_query(1, name, A)


def test_names_may_be_compressed_and_differ_in_case() -> None:
    whole = b"\x01A\x04TeSt\x00"
    answer = decode_answer(
        message(record(OWNER, A, 30, bytes([127, 0, 0, 2])), record(whole, A, 20, bytes([127, 0, 0, 3]))), QUERY
    )
    assert (answer.addresses, answer.ttl, answer.truncated) == (("127.0.0.2", "127.0.0.3"), 20, False)


def test_a_ttl_with_its_highest_bit_is_zero() -> None:
    assert decode_answer(message(record(OWNER, A, 0x80000001, b"\x7f\0\0\2")), QUERY).ttl == 0


def test_records_of_other_names_are_no_answer() -> None:
    other = b"\x04evil\x04test\x00"
    assert decode_answer(message(record(other, A, 60, b"\x7f\0\0\2")), QUERY).addresses == ()


def test_aliases_in_a_circle_end() -> None:
    there = b"\x01b\x04test\x00"
    here = b"\x01a\x04test\x00"
    assert decode_answer(message(record(here, 5, 60, there), record(there, 5, 60, here)), QUERY).addresses == ()


@pytest.mark.parametrize(
    "bad",
    [
        message(identity=0x1235),
        message(flags=0x0100),
        message(query=encode_query(0, "b.test", A)),
        message(query=encode_query(0, "a.test", AAAA)),
        message(record(b"\xc0\x40", A, 60, b"\x7f\0\0\2")),  # points forwards
        message(record(b"\xc0\x17\xc0\x17", A, 60, b"\x7f\0\0\2")),
        message(record(OWNER, A, 60, b"\x7f\0\0")),
        message(record(OWNER, A, 60, b"\x7f\0\0\2"))[:-1],
        b"",
    ],
)
def test_what_is_not_an_answer(bad: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        decode_answer(bad, QUERY)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_answer_or_malformed(noise: bytes) -> None:
    for data in (noise, message()[:12] + noise, message(b"", b"") + noise):
        try:
            decode_answer(data, QUERY)
        except MalformedAnswer:
            pass
