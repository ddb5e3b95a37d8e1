"""Pieces of a body that come in one read are handed on as one, and never late."""

from __future__ import annotations

import random

import pytest

from meshproxy.codec.h2_body import JOINED
from meshproxy.model.codec import Http2Options
from tests.conformance import h2_wire as wire
from tests.unit.codec.test_h2_connection import Pair, raw_server

PIECE = b"x" * JOINED


def data(sid: int, payload: bytes, end: bool = False) -> bytes:
    return wire.data(sid, payload, int(end))


def test_pieces_of_one_read_are_one() -> None:
    codec, sink = raw_server()
    codec.receive(wire.post(1) + wire.post(3) + data(1, PIECE) + data(3, PIECE) + data(1, PIECE))
    assert sink.named("data") == [("data", 1, PIECE * 2, False), ("data", 3, PIECE, False)]
    codec.receive(data(1, PIECE) + data(1, b"end", True))
    assert sink.named("data")[2:] == [("data", 1, PIECE + b"end", True)]


def test_small_pieces_of_one_read_are_one_in_a_row_and_in_turn() -> None:
    codec, sink = raw_server()
    row = b"".join(data(1, b"%d" % number) for number in range(300))
    codec.receive(wire.post(1) + wire.post(3) + row + data(3, b"a") + data(1, b"x") + data(3, b"b") + data(1, b"y"))
    whole = b"".join(b"%d" % number for number in range(300)) + b"xy"
    assert sink.named("data") == [("data", 1, whole, False), ("data", 3, b"ab", False)]
    codec.receive(data(3, b"c") + data(3, b"d", True))
    assert sink.named("data")[2:] == [("data", 3, b"cd", True)]


@pytest.mark.parametrize("frames", [3, 4, 40])
def test_a_row_beyond_the_window_or_the_length_is_refused(frames: int) -> None:
    codec, sink = raw_server(initial_stream_window_size=65_535, initial_connection_window_size=65_535)
    codec.receive(wire.post() + data(1, bytes(16_384)) * frames + data(1, b"z") * 2)
    refused = sink.named("error", "connection_error")
    assert bool(refused) == (frames > 3)
    declared, heard = raw_server()
    declared.receive(wire.post(1, [("content-length", str(frames))]) + data(1, b"z") * (frames + 1))
    assert [call[0] for call in heard.named("data", "error")][-1] == "error"


@pytest.mark.parametrize(
    ("last", "call"),
    [
        (wire.headers(1, [("x-end", "1")]), "trailers"),
        (wire.rst(1), "reset"),
        (wire.headers(1, [("x-end", "1")], wire.END_HEADERS), "connection_error"),
        (wire.frame(6, 0, 1, wire.MARK), "connection_error"),
    ],
)
def test_they_come_before_the_end_of_their_stream(last: bytes, call: str) -> None:
    codec, sink = raw_server()
    codec.receive(wire.post() + data(1, PIECE) + data(1, PIECE) + last)
    names = [each[0] for each in sink.named("data", "trailers", "reset", "error", "connection_error")]
    assert sink.named("data") == [("data", 1, PIECE * 2, False)]
    assert names[0] == "data"
    assert call in names[1:]


def test_nothing_of_a_stream_that_its_owner_has_reset() -> None:
    codec, sink = raw_server()
    codec.receive(wire.post() + data(1, PIECE))
    codec.reset_stream(1, 8)
    codec.receive(data(1, PIECE) + data(1, PIECE))
    assert len(sink.named("data")) == 1


@pytest.mark.parametrize("frame_size", [16_384, 20_000])
def test_bodies_are_whole_however_they_are_cut(frame_size: int) -> None:
    source = random.Random(frame_size)
    body = source.randbytes(700_000)
    pair = Pair(Http2Options(), Http2Options(), 10_000_000)
    pair.client._peer_frame_size = 16_384
    sid = pair.request("POST", False)
    position = 0
    while position < len(body):
        size = source.choice([1, 1023, 1024, 16_384, frame_size, 100_000])
        pair.client.send_data(sid, body[position : position + size], position + size >= len(body))
        position += size
    sent = pair.client.take()
    position = 0
    while position < len(sent):
        size = source.choice([1, 9, 1000, 65_536, 70_000, 200_000])
        pair.server.receive(sent[position : position + size])
        while pair.server.unfinished:
            pair.server.resume()
        position += size
    calls = pair.down.named("data")
    assert b"".join(call[2] for call in calls if isinstance(call[2], bytes)) == body
    assert [call[3] for call in calls] == [False] * (len(calls) - 1) + [True]
