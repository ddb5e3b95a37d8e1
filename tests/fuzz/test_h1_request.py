"""Requests from a hostile or a merely odd peer: properties that hold for every byte sequence."""

from __future__ import annotations

import re

import h11
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshproxy.codec.h1_encode import LAST_CHUNK, encode_chunk, encode_request_head
from meshproxy.headers import RequestHeaders
from meshproxy.model.codec import HeaderKeyFormat, Http1Options
from tests.fuzz.h1_bytes import NASTY, field_lists, mutated
from tests.unit.codec.corpus import cases
from tests.unit.codec.recording import RequestRecorder, byte_by_byte, cut_at

CORPUS = [case.raw for case in cases("requests.jsonl") if len(case.raw) < 2000]
MORE = [
    b"GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"POST /q HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nAccept: */*\r\n\r\nhelloGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"POST /q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
    b"GET /q HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]
OPTIONS = [
    Http1Options(),
    Http1Options(accept_http_10=True, default_host_for_http_10="d", enable_trailers=True),
    Http1Options(
        allow_chunked_length=True, underscores="DROP_HEADER", header_key_format=HeaderKeyFormat(preserve=True)
    ),
    Http1Options(max_headers_kb=1, max_headers_count=4, allow_absolute_url=False),
]
FEW = settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])


@FEW
@given(
    data=mutated(CORPUS + MORE) | st.binary(max_size=80) | st.lists(st.sampled_from(NASTY), max_size=30).map(b"".join),
    options=st.sampled_from(OPTIONS),
    cuts=st.lists(st.integers(0, 5000), max_size=5),
    eof=st.booleans(),
)
def test_any_bytes_in_any_pieces(data: bytes, options: Http1Options, cuts: list[int], eof: bool) -> None:
    whole = RequestRecorder(options).feed([data], eof)
    for pieces in (cut_at(*cuts)(data), byte_by_byte(data)):
        assert RequestRecorder(options).feed(pieces, eof).summary() == whole.summary()
    if whole.error:
        assert whole.error.status in (400, 426, 431, 501)
        assert whole.parser.buffered == 0
    for head, body in zip(whole.heads, whole.bodies, strict=True):
        assert isinstance(head, RequestHeaders)
        for name, value in head.items():
            assert re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9a-z]+", name)
            assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value)
            assert value == value.strip(" \t")
        assert not {"host", "transfer-encoding"} & head.fields.keys()
        assert re.fullmatch(r"[\x21-\x7e]*", head.path)
        assert len(head.get_all("content-length")) <= 1
        assert len(body) <= len(data)


def h11_reads(data: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes | None]:
    """Method, target, fields and body (None: not all of it is there) of the first request, as h11 reads it."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    reader.receive_data(data)
    request = reader.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while True:
        event = reader.next_event()
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return request.method, request.target, list(request.headers), body
        else:
            return request.method, request.target, list(request.headers), None


@FEW
@given(data=mutated(CORPUS + MORE))
def test_what_we_accept_h11_accepts_with_the_same_events(data: bytes) -> None:
    # h11 takes no empty line before a request and at most 20 digits of chunk size; both are legal.
    data = data.lstrip(b"\r\n")
    got = RequestRecorder().feed([data])
    if not got.heads or re.search(rb"0{12}", data):
        return
    ours, body = got.heads[0], got.bodies[0]
    assert isinstance(ours, RequestHeaders)
    if got.error and not got.ended[0]:
        return  # the fault is in the body; what h11 makes of it doesn't matter
    method, target, fields, h11_body = h11_reads(data)
    assert ours.method == method.decode()
    if target.startswith(b"/"):
        assert ours.path == target.decode()
    if "upgrade" not in dict(ours.items()) and ours.method != "CONNECT":
        assert h11_body == (body if got.ended[0] else None)
    theirs = [(name.decode(), value.decode("latin-1")) for name, value in fields]
    if any(name == "upgrade" and value.lower() == "h2c" for name, value in theirs):
        return  # stripped
    theirs = [field for field in theirs if field[0] not in ("host", "transfer-encoding")]
    assert list(ours.items()) == theirs


METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "REPORT"])
PATHS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), max_size=30)


@FEW
@given(
    method=METHODS,
    path=PATHS.map("/".__add__),
    fields=field_lists,
    pieces=st.lists(st.binary(min_size=1, max_size=50), max_size=4),
    by_length=st.booleans(),
    cuts=st.lists(st.integers(0, 5000), max_size=3),
)
def test_parse_reverses_emit(
    method: str, path: str, fields: list[tuple[str, str]], pieces: list[bytes], by_length: bool, cuts: list[int]
) -> None:
    request = RequestHeaders(method, path, "a.example:80", fields=fields)
    body = b"".join(pieces)
    if by_length:
        request["content-length"] = str(len(body))
    head, chunked = encode_request_head(request, not pieces)
    wire = head + (b"".join(map(encode_chunk, pieces)) + LAST_CHUNK if chunked else body)
    got = RequestRecorder().feed(cut_at(*cuts)(wire * 2))
    assert got.error is None, got.error
    if not pieces and "content-length: 0\r\n" in head.decode("latin-1"):
        request["content-length"] = "0"
    assert got.heads == [request, request]
    for read in got.heads:
        assert isinstance(read, RequestHeaders)
        assert (read.method, read.path, read.authority) == (method, path, "a.example:80")
    assert got.bodies == [body, body]
