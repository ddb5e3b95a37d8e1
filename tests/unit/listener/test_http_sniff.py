"""The verdicts are those of Envoy 1.40.0's http_inspector, observed by which filter chain a connection got."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproxy_filters.listener.http_sniff import MAX_FIRST_LINE, HttpVerdict, sniff_http

HTTP_ROWS = [
    (b"GET / HTTP/1.1\r\n", "http/1.1"),
    (b"GET / HTTP/1.0\r\n", "http/1.0"),
    (b"GET / HTTP/1.1\n", "http/1.1"),
    (b"GET / HTTP/0.9\r\n", "http/1.0"),
    (b"GET / HTTP/1.2\r\n", "http/1.0"),
    (b"GET / HTTP/2.0\r\n", "http/1.0"),
    (b"GET / HTTP/3\r\n", "none"),
    (b"GET /\r\n", "http/1.0"),
    (b"GET\r\n", "none"),
    (b"GET / \r\n", "http/1.0"),
    (b"FOO / HTTP/1.1\r\n", "http/1.1"),
    (b"foo / HTTP/1.1\r\n", "http/1.1"),
    (b"get / HTTP/1.1\r\n", "http/1.1"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2c"),
    (b"PRI * HTTP/1.1\r\n", "http/1.1"),
    (b"PRI / HTTP/1.1\r\n", "http/1.1"),
    (b"\x16\x03\x01", "none"),
    (b"\x16", "none"),
    (b"\x00\x01\x02\r\n", "none"),
    (b"\r\nGET / HTTP/1.1\r\n", "none"),
    (b"\r\n\r\nGET / HTTP/1.1\r\n", "none"),
    (b"\nGET / HTTP/1.1\r\n", "none"),
    (b"\r\n", "none"),
    (b" GET / HTTP/1.1\r\n", "none"),
    (b"GET  / HTTP/1.1\r\n", "http/1.1"),
    (b"GET\t/ HTTP/1.1\r\n", "http/1.1"),
    (b"GET /a b HTTP/1.1\r\n", "none"),
    (b"GET / HTTP/1.1 \r\n", "http/1.1"),
    (b"GET / http/1.1\r\n", "none"),
    (b"GET / HTTP/1.1x\r\n", "none"),
    (b"GET / HTTP/11\r\n", "none"),
    (b"CONNECT a:1 HTTP/1.1\r\n", "http/1.1"),
    (b"OPTIONS * HTTP/1.1\r\n", "http/1.1"),
    (b"M-SEARCH * HTTP/1.1\r\n", "http/1.1"),
    (b"PROPFIND / HTTP/1.1\r\n", "http/1.1"),
    (b"PATCH / HTTP/1.1\r\n", "http/1.1"),
    (b"hello world\r\n", "none"),
    (b"hello\r\n", "none"),
    (b"HELO x\r\n", "none"),
    (b"SSH-2.0-x\r\n", "none"),
    (b"*1\r\n$4\r\nPING\r\n", "none"),
    (b"HTTP/1.1 200 OK\r\n", "none"),
    (b"GET http://a/ HTTP/1.1\r\n", "http/1.1"),
    (b"GET /\xff HTTP/1.1\r\n", "none"),
    (b"GET /\x01 HTTP/1.1\r\n", "http/1.1"),
    (b"GE\x01T / HTTP/1.1\r\n", "none"),
    (b"G:T / HTTP/1.1\r\n", "none"),
    (b"GET a HTTP/1.1\r\n", "none"),
    (b"GET ? HTTP/1.1\r\n", "none"),
    (b"GET / XTTP/1.1\r\n", "none"),
    (b"GET / HTTP/9.9\r\n", "http/1.0"),
    (b"GET / HTTP/1.01\r\n", "none"),
    (b"GET / HTTP/01.1\r\n", "none"),
    (b"QUERY / HTTP/1.1\r\n", "http/1.1"),
    (b"PURGE / HTTP/1.1\r\n", "http/1.1"),
    (b"GET /\tHTTP/1.1\r\n", "http/1.1"),
    (b"\xff\xfe\r\n", "none"),
    (b"\x80", "none"),
    (b"{", "none"),
    (b'{"a": 1}\n', "none"),
]

# Envoy waits for the time-out with these and then decides the same; the second verdict is ours.
UNDECIDED = [
    (b"", HttpVerdict.NEED_MORE),
    (b"GET / HTTP/1.1", HttpVerdict.NEED_MORE),
    (b"GET / HTTP/1.1\r", HttpVerdict.NEED_MORE),
    (b"GET /", HttpVerdict.NEED_MORE),
    (b"GET", HttpVerdict.NEED_MORE),
    (b"P", HttpVerdict.NEED_MORE),
    (b"PRI *", HttpVerdict.NEED_MORE),
    (b"hello", HttpVerdict.NEED_MORE),
    (b"SSH-", HttpVerdict.NEED_MORE),
    (b"GET / HTTP/1.1\rX", HttpVerdict.NOT_HTTP),
    (b"GE\x01\rT", HttpVerdict.NOT_HTTP),
    (b"G{T", HttpVerdict.NOT_HTTP),
]
SPELLINGS = [
    b"GET",
    b"PRI * HTTP/2",
    b"CONNECT",
    b" ",
    b"/",
    b"*",
    b"\r",
    b"\n",
    b"\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"a:1",
]
LINES = st.lists(st.sampled_from(SPELLINGS) | st.binary(max_size=3), max_size=8).map(b"".join)


@pytest.mark.parametrize(("data", "expected"), HTTP_ROWS)
def test_the_verdict_is_envoys(data: bytes, expected: str) -> None:
    assert sniff_http(data).value == ("not HTTP" if expected == "none" else expected)


@pytest.mark.parametrize(("data", "expected"), UNDECIDED)
def test_incomplete(data: bytes, expected: HttpVerdict) -> None:
    assert sniff_http(data) is expected


@given(LINES)
def test_a_verdict_stays_whatever_follows(data: bytes) -> None:
    verdicts = [sniff_http(data[:end]) for end in range(len(data) + 1)]
    decided = [verdict for verdict in verdicts if verdict is not HttpVerdict.NEED_MORE]
    assert verdicts[: len(verdicts) - len(decided)] == [HttpVerdict.NEED_MORE] * (len(verdicts) - len(decided))
    assert len(set(decided)) <= 1


def test_the_first_line_is_bounded() -> None:
    long = b"GET /" + b"a" * MAX_FIRST_LINE
    assert sniff_http(long[: MAX_FIRST_LINE - 1]) is HttpVerdict.NEED_MORE
    assert sniff_http(long) is sniff_http(long + b" HTTP/1.1\r\n") is HttpVerdict.NOT_HTTP
    assert sniff_http(long[:60_000] + b" HTTP/1.1\r\n") is HttpVerdict.HTTP_1_1
