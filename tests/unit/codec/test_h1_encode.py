"""The literal bytes that Envoy 1.40 writes, observed on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.codec.h1_encode import (
    LAST_CHUNK,
    REASONS,
    encode_chunk,
    encode_request_head,
    encode_response_head,
    encode_trailers,
    must_close,
)
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.name_writer import NameWriter

LENGTH = [("content-length", "2"), ("x-a", "1")]
PLAIN = [("x-a", "1")]


@pytest.mark.parametrize(
    ("method", "fields", "end", "head", "chunked"),
    [
        ("GET", PLAIN, True, "GET /p HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n\r\n", False),
        ("HEAD", [], True, "HEAD /p HTTP/1.1\r\nhost: a\r\n\r\n", False),
        ("DELETE", [], True, "DELETE /p HTTP/1.1\r\nhost: a\r\n\r\n", False),
        ("TRACE", [], True, "TRACE /p HTTP/1.1\r\nhost: a\r\n\r\n", False),
        ("POST", PLAIN, True, "POST /p HTTP/1.1\r\nhost: a\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n", False),
        ("OPTIONS", [], True, "OPTIONS /p HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", False),
        ("PURGE", [], True, "PURGE /p HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", False),
        ("POST", LENGTH, False, "POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nx-a: 1\r\n\r\n", False),
        ("POST", PLAIN, False, "POST /p HTTP/1.1\r\nhost: a\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n", True),
        ("GET", PLAIN, False, "GET /p HTTP/1.1\r\nhost: a\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n", True),
        ("CONNECT", PLAIN, False, "CONNECT a HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n\r\n", False),
        ("CONNECT", [], True, "CONNECT a HTTP/1.1\r\nhost: a\r\n\r\n", False),
    ],
)
def test_request_head(method: str, fields: list[tuple[str, str]], end: bool, head: str, chunked: bool) -> None:
    request = RequestHeaders(method, "/p", "a", fields=fields)
    assert encode_request_head(request, end) == (head.encode(), chunked)


def test_repeated_names_keep_their_lines_and_order() -> None:
    request = RequestHeaders("GET", "/", "a", fields=[("b", "1"), ("c", "2"), ("b", "3")])
    assert encode_request_head(request, True)[0] == b"GET / HTTP/1.1\r\nhost: a\r\nb: 1\r\nc: 2\r\nb: 3\r\n\r\n"
    response = ResponseHeaders(200, [("set-cookie", "a"), ("content-length", "0"), ("set-cookie", "b")])
    head = encode_response_head(response, True)[0]
    assert head == b"HTTP/1.1 200 OK\r\nset-cookie: a\r\ncontent-length: 0\r\nset-cookie: b\r\n\r\n"


def test_fully_qualified_url() -> None:
    request = RequestHeaders("GET", "/p?q", "a:81", "https")
    head = encode_request_head(request, True, fully_qualified=True)[0]
    assert head == b"GET https://a:81/p?q HTTP/1.1\r\nhost: a:81\r\n\r\n"


def test_options_of_the_whole_server_has_no_url() -> None:
    head = encode_request_head(RequestHeaders("OPTIONS", "*", "a"), True, fully_qualified=True)[0]
    assert head.startswith(b"OPTIONS * HTTP/1.1\r\n")


def test_obs_text_goes_through_unchanged() -> None:
    request = RequestHeaders("GET", "/", "a", fields=[("x", "\x80\xff")])
    assert b"x: \x80\xff\r\n" in encode_request_head(request, True)[0]


@pytest.mark.parametrize(
    ("path", "authority"),
    [("/a b", "a"), ("/\r\nx: y", "a"), ("/a\x00", "a"), ("/", "a\r\nx: y"), ("/\u20ac", "a")],
)
def test_a_start_line_that_a_filter_spoilt_is_not_written(path: str, authority: str) -> None:
    with pytest.raises(ValueError):
        encode_request_head(RequestHeaders("GET", path, authority), True)


def test_transfer_encoding_of_a_filter_is_not_written() -> None:
    fields = [("transfer-encoding", "gzip"), ("content-length", "2")]
    head, chunked = encode_request_head(RequestHeaders("POST", "/", "a", fields=fields), False)
    assert (head, chunked) == (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n", False)
    head, chunked = encode_response_head(ResponseHeaders(200, fields), False)
    assert (head, chunked) == (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", False)


CLOSE = "connection: close\r\n"
CHUNKED = "transfer-encoding: chunked\r\n"
BY_LENGTH = "content-length: 2\r\nx-a: 1\r\n"
OLD: dict[str, object] = {"http10": True}
OLD_CLOSE: dict[str, object] = {"http10": True, "keep_alive": False}


@pytest.mark.parametrize(
    ("status", "fields", "end", "options", "head", "chunked"),
    [
        (200, LENGTH, False, {}, f"HTTP/1.1 200 OK\r\n{BY_LENGTH}\r\n", False),
        (200, PLAIN, False, {}, f"HTTP/1.1 200 OK\r\nx-a: 1\r\n{CHUNKED}\r\n", True),
        (200, PLAIN, False, {"keep_alive": False}, f"HTTP/1.1 200 OK\r\nx-a: 1\r\n{CLOSE}{CHUNKED}\r\n", True),
        (404, [], True, {"keep_alive": False}, f"HTTP/1.1 404 Not Found\r\n{CLOSE}content-length: 0\r\n\r\n", False),
        (204, PLAIN, True, {}, "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n", False),
        (204, [], True, {"keep_alive": False}, f"HTTP/1.1 204 No Content\r\n{CLOSE}\r\n", False),
        (304, PLAIN, True, {}, "HTTP/1.1 304 Not Modified\r\nx-a: 1\r\n\r\n", False),
        (304, LENGTH, True, {}, f"HTTP/1.1 304 Not Modified\r\n{BY_LENGTH}\r\n", False),
        (200, LENGTH, True, {"method": "HEAD"}, f"HTTP/1.1 200 OK\r\n{BY_LENGTH}\r\n", False),
        (200, [], True, {"method": "HEAD"}, f"HTTP/1.1 200 OK\r\n{CHUNKED}\r\n", False),
        (200, [], False, {"method": "HEAD"}, f"HTTP/1.1 200 OK\r\n{CHUNKED}\r\n", False),
        (200, [], False, {"method": "CONNECT"}, "HTTP/1.1 200 OK\r\n\r\n", False),
        (502, [], True, {"method": "CONNECT"}, "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", False),
        (100, [], True, {}, "HTTP/1.1 100 Continue\r\n\r\n", False),
        (103, PLAIN, True, {"keep_alive": False}, "HTTP/1.1 103 Unknown\r\nx-a: 1\r\n\r\n", False),
        (418, [], True, {}, "HTTP/1.1 418 Unknown\r\ncontent-length: 0\r\n\r\n", False),
        (555, [], True, {}, "HTTP/1.1 555 Unknown\r\ncontent-length: 0\r\n\r\n", False),
        (200, LENGTH, False, OLD, f"HTTP/1.0 200 OK\r\n{BY_LENGTH}connection: keep-alive\r\n\r\n", False),
        (200, LENGTH, False, OLD_CLOSE, f"HTTP/1.0 200 OK\r\n{BY_LENGTH}{CLOSE}\r\n", False),
        (200, PLAIN, False, OLD, f"HTTP/1.0 200 OK\r\nx-a: 1\r\n{CLOSE}\r\n", False),
        (204, PLAIN, True, OLD, f"HTTP/1.0 204 No Content\r\nx-a: 1\r\n{CLOSE}\r\n", False),
        (200, [], True, {"http10": True, "method": "HEAD"}, f"HTTP/1.0 200 OK\r\n{CLOSE}\r\n", False),
    ],
)  # fmt: skip
def test_response_head(
    status: int, fields: list[tuple[str, str]], end: bool, options: dict[str, Any], head: str, chunked: bool
) -> None:
    response = ResponseHeaders(status, fields)
    assert encode_response_head(response, end, **options) == (head.encode(), chunked)


def test_upgrade_keeps_its_connection_field() -> None:
    response = ResponseHeaders(101, [("connection", "upgrade"), ("upgrade", "websocket")])
    head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    assert encode_response_head(response, False, keep_alive=False) == (head, False)


def test_only_a_length_keeps_http10_alive() -> None:
    assert must_close(ResponseHeaders(200), True)
    assert not must_close(ResponseHeaders(200, LENGTH), True)
    assert not must_close(ResponseHeaders(200), False)


def test_reasons_are_envoys() -> None:
    assert REASONS[203] == "Non-Authoritative Information"
    assert REASONS[413] == "Payload Too Large"
    assert REASONS[414] == "URI Too Long"
    assert 103 not in REASONS
    assert 418 not in REASONS


def test_chunks() -> None:
    assert encode_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert encode_chunk(b"") == b""
    assert LAST_CHUNK == b"0\r\n\r\n"
    assert encode_trailers(Headers([("x-t", "1"), ("x-t", "2")])) == b"0\r\nx-t: 1\r\nx-t: 2\r\n\r\n"


def test_proper_case() -> None:
    names = NameWriter(proper=True)
    request = RequestHeaders("POST", "/", "a", fields=[("x-request-id", "1"), ("te1a_b", "2")])
    head, _ = encode_request_head(request, True, names)
    assert head == b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: 1\r\nTe1a_B: 2\r\nContent-Length: 0\r\n\r\n"
    head, _ = encode_response_head(ResponseHeaders(200), False, keep_alive=False, names=names)
    assert head == b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_preserve_case() -> None:
    names = NameWriter({"host": "HOST", "x-a": "X-a"}, proper=False)
    request = RequestHeaders("GET", "/", "a", fields=[("x-a", "1"), ("x-new", "2")])
    assert encode_request_head(request, True, names)[0] == b"GET / HTTP/1.1\r\nHOST: a\r\nX-a: 1\r\nx-new: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ([("content-length", "5")], True),
        ([("content-length", "5"), ("content-length", "5")], False),
        ([("content-length", "5"), ("content-length", "6")], False),
        ([("host", "other")], True),
    ],
)
def test_a_request_head_that_would_be_read_in_two_ways_is_not_written(fields: list[tuple[str, str]], end: bool) -> None:
    with pytest.raises(ValueError, match=r"[Ll]ength|host"):
        encode_request_head(RequestHeaders("POST", "/", "h", fields=fields), end)


@pytest.mark.parametrize("status", [0, 7, 99, 1000, "200"])
def test_a_status_has_three_digits(status: int) -> None:
    with pytest.raises((ValueError, TypeError)):
        encode_response_head(ResponseHeaders(status), True)


def test_a_response_without_content_says_no_length() -> None:
    head, chunked = encode_response_head(ResponseHeaders(204, [("content-length", "4")]), True)
    assert head == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert not chunked


def test_a_response_with_two_lengths_is_not_written() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        encode_response_head(ResponseHeaders(200, [("content-length", "4"), ("content-length", "5")]), False)
