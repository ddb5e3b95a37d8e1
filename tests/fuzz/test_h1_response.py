"""Responses from a hostile or a merely odd upstream: properties that hold for every byte sequence."""

from __future__ import annotations

import re

import h11
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshproxy.codec.h1_encode import LAST_CHUNK, encode_chunk, encode_response_head
from meshproxy.headers import ResponseHeaders
from meshproxy.model.codec import Http1Options
from tests.fuzz.h1_bytes import NASTY, field_lists, mutated
from tests.unit.codec.corpus import cases
from tests.unit.codec.recording import ResponseRecorder, byte_by_byte, cut_at

CORPUS = [case.raw for case in cases("responses.jsonl") if len(case.raw) < 2000]
FEW = settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
CLOSED = "upstream_reset_before_response_started{connection_termination}"


def outcome(got: ResponseRecorder) -> object:
    """What an owner acts on. An error behind a complete response only says again that the connection is spoilt."""
    error = None
    if got.error and not (got.ended and got.ended[-1]):
        error = (got.error.status, got.error.details)
    heads = [repr(head) for head in got.heads]
    return (
        heads,
        got.informational,
        got.bodies,
        got.trailers,
        got.ended,
        error,
        got.parser.keep_alive,
        got.parser.idle(),
    )


@FEW
@given(
    data=mutated(CORPUS) | st.binary(max_size=80) | st.lists(st.sampled_from(NASTY), max_size=30).map(b"".join),
    method=st.sampled_from(["GET", "HEAD", "CONNECT"]),
    upgrade=st.booleans(),
    trailers=st.booleans(),
    cuts=st.lists(st.integers(0, 5000), max_size=5),
    eof=st.booleans(),
)
def test_any_bytes_in_any_pieces(
    data: bytes, method: str, upgrade: bool, trailers: bool, cuts: list[int], eof: bool
) -> None:
    options = Http1Options(enable_trailers=trailers)
    whole = ResponseRecorder(method, upgrade, options).feed([data], eof)
    for pieces in (cut_at(*cuts)(data), byte_by_byte(data)):
        assert outcome(ResponseRecorder(method, upgrade, options).feed(pieces, eof)) == outcome(whole)
    if whole.error:
        assert whole.error.status == 502 or whole.error.details == CLOSED
        assert not whole.parser.keep_alive
        assert not whole.parser.idle()
    assert len(whole.heads) <= 1
    for head in whole.heads:
        assert "transfer-encoding" not in head.fields or method == "HEAD"
        for name, value in head.items():
            assert re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9a-z]+", name)
            assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value)


@FEW
@given(data=mutated(CORPUS))
def test_what_we_accept_h11_accepts_with_the_same_events(data: bytes) -> None:
    got = ResponseRecorder().feed([data])
    if not got.heads or (got.error and not got.ended[0]) or re.search(rb"0{12}", data):
        return
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=100_000)
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    event = reader.next_event()
    while isinstance(event, h11.InformationalResponse):
        event = reader.next_event()
    assert isinstance(event, h11.Response)
    ours = got.heads[0]
    assert isinstance(ours, ResponseHeaders)
    assert ours.status == event.status_code
    theirs = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
    if ours.status == 204:
        theirs = [field for field in theirs if field[0] != "content-length"]
    assert list(ours.items()) == [field for field in theirs if field[0] != "transfer-encoding"]
    body = b""
    while isinstance(event := reader.next_event(), h11.Data):
        body += bytes(event.data)
    assert got.bodies[0] == body
    assert got.ended[0] == isinstance(event, h11.EndOfMessage)


@FEW
@given(
    status=st.sampled_from([200, 201, 301, 404, 418, 500, 599]),
    fields=field_lists,
    pieces=st.lists(st.binary(min_size=1, max_size=50), max_size=4),
    by_length=st.booleans(),
    keep_alive=st.booleans(),
    cuts=st.lists(st.integers(0, 5000), max_size=3),
)
def test_parse_reverses_emit(
    status: int,
    fields: list[tuple[str, str]],
    pieces: list[bytes],
    by_length: bool,
    keep_alive: bool,
    cuts: list[int],
) -> None:
    response = ResponseHeaders(status, fields)
    body = b"".join(pieces)
    if by_length:
        response["content-length"] = str(len(body))
    head, chunked = encode_response_head(response, not pieces, keep_alive=keep_alive)
    wire = head + (b"".join(map(encode_chunk, pieces)) + LAST_CHUNK if chunked else body)
    got = ResponseRecorder().feed(cut_at(*cuts)(wire))
    assert got.error is None, got.error
    assert (got.bodies, got.ended, got.parser.keep_alive) == ([body], [True], keep_alive)
    if not keep_alive:
        response["connection"] = "close"
    if not pieces and not by_length:
        response["content-length"] = "0"
    read = got.heads[0]
    assert isinstance(read, ResponseHeaders)
    assert (read.status, read) == (status, response)
