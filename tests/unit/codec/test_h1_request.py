"""What the request parser promises its owner, case by case."""

from __future__ import annotations

import pytest

from meshproxy.codec.h1_request import RequestParser
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders
from meshproxy.model.codec import HeaderKeyFormat, Http1Options
from tests.unit.codec.recording import CUTS, RequestRecorder, byte_by_byte

GET = b"GET /q HTTP/1.1\r\n"
HOST = b"Host: a.example\r\n"


def parse(data: bytes, options: Http1Options = Http1Options(), eof: bool = False) -> RequestRecorder:  # noqa: B008  # it is frozen
    """Parse, and insist on the same outcome however the bytes are cut."""
    got = RequestRecorder(options).feed([data], eof)
    if len(data) < 2000:
        for cut in CUTS.values():
            assert RequestRecorder(options).feed(cut(data), eof).summary() == got.summary()
    return got


def refused(data: bytes, options: Http1Options = Http1Options()) -> tuple[int, str]:  # noqa: B008  # it is frozen
    got = parse(data, options)
    assert got.error is not None
    assert not got.complete
    return got.error.status, got.error.details


def head(data: bytes, options: Http1Options = Http1Options()) -> RequestHeaders:  # noqa: B008  # it is frozen
    got = parse(data, options)
    assert got.error is None, got.error
    request = got.heads[0]
    assert isinstance(request, RequestHeaders)
    return request


def test_plain_head() -> None:
    request = head(b"GET /q?x=1 HTTP/1.1\r\nHost: a.example:81\r\nX-B:  two words \t\r\nx-a:1\r\nEmpty:\r\n\r\n")
    assert (request.method, request.path, request.authority, request.scheme) == (
        "GET",
        "/q?x=1",
        "a.example:81",
        "",
    )
    assert list(request.items()) == [("x-b", "two words"), ("x-a", "1"), ("empty", "")]


def test_repeated_fields_keep_order_and_the_single_ones_stay_single() -> None:
    request = head(GET + b"A: 1\r\nB: 2\r\n" + HOST + b"a: 3\r\n\r\n")
    assert list(request.items()) == [("a", "1"), ("b", "2"), ("a", "3")]
    assert request.authority == "a.example"


def test_remembered_lines_are_as_good_as_fresh_ones() -> None:
    data = GET + HOST + b"Accept: */*\r\nX-T: a\tb\r\nX-O: \xe9\r\n\r\n"
    assert head(data) == head(data)
    assert head(data)["x-t"] == "a\tb"
    assert head(data)["x-o"] == "\xe9"


@pytest.mark.parametrize(
    ("data", "status", "details"),
    [
        # What Envoy 1.40 answered to the same bytes.
        (b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.codec_error"),
        (b"GET /q\x01 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.invalid_characters"),
        (b"GET /q\x7f HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.invalid_characters"),
        (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.invalid_url"),
        (b"GET q HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.codec_error"),
        (b"get /q HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.codec_error"),
        (b"PRI /q HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.codec_error"),
        (b"M-SEARCH /q HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.codec_error"),
        (b"GET ftp://a/q HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.invalid_scheme"),
        (b"GET http://a:/q HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.invalid_url"),
        (b"GET http://a_b/q HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.invalid_url"),
        (b"GET http:///q HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.invalid_url"),
        (b"GET /q HTTP/1.0\r\n" + HOST + b"\r\n", 426, "low_version"),
        (b"GET /q HTTP/1.2\r\n" + HOST + b"\r\n", 426, "low_version"),
        (b"GET /q HTTP/1.0\r\n" + HOST + b"bad name: x\r\n\r\n", 400, "http1.codec_error"),
        (b"POST /q HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400,
         "http1.content_length_and_chunked_not_allowed"),
        (GET + b"\r\n", 400, "missing_host_header"),
        (GET + b"Host: a b\r\n\r\n", 400, "http.invalid_authority"),
        (GET + b"Host: a\\b\r\n\r\n", 400, "http.invalid_authority"),
        (GET + b"Host: \xc3\xa9\r\n\r\n", 400, "http.invalid_authority"),
        (GET + HOST + b": x\r\n\r\n", 400, "http1.codec_error"),
        (GET + HOST + b"a\xe9: b\r\n\r\n", 400, "http1.codec_error"),
        (GET + HOST + b"a\x01: b\r\n\r\n", 400, "http1.invalid_characters"),
        (GET + HOST + b"a: \x0b\r\n\r\n", 400, "http1.invalid_characters"),
        (GET + HOST + b"Content-Length:\r\n\r\n", 400, "http1.codec_error"),
        (GET + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501,
         "http1.invalid_transfer_encoding"),
        (b"POST /q HTTP/1.1\r\nHost: <\r\nTransfer-Encoding: x\r\n\r\n", 501, "http1.invalid_transfer_encoding"),
        (GET + HOST + b"Connection: host\r\n\r\n", 400, "missing_host_header"),
        (GET + HOST + b"Connection: close, X-Forwarded-For\r\n\r\n", 400, "http1.connection_header_rejected"),
        (GET + HOST + b"Connection: x-forwarded-proto\r\n\r\n", 400, "http1.connection_header_rejected"),
        (GET + HOST + b"Connection: :path\r\n\r\n", 400, "http1.connection_header_rejected"),
        (GET + HOST + b"Connection: a,b,c,d,e,f,g,h,i,j\r\n\r\n", 400, "http1.connection_header_rejected"),
        (GET + HOST + b"Connection: te\r\nTE: " + b"a," * 200 + b"\r\n\r\n", 400, "http1.connection_header_rejected"),
        (b"CONNECT a:99999 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.invalid_url"),
        (b"CONNECT a HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.invalid_url"),
        (b"CONNECT http://a:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.invalid_url"),
        (b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", 400, "http1.body_disallowed"),
        (b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n", 501,
         "http1.invalid_transfer_encoding"),
        (GET + HOST + b"bad x: y\r\n" + b"a: b\r\n" * 120 + b"\r\n", 400, "http1.codec_error"),
        # Stricter than Envoy.
        (GET + HOST + HOST + b"\r\n", 400, "http.invalid_authority"),
        (GET + b"Host: [::1\r\n\r\n", 400, "http.invalid_authority"),
        (GET + b"Host: [:::]\r\n\r\n", 400, "http.invalid_authority"),
        (GET + b"Host: u@a\r\n\r\n", 400, "http.invalid_authority"),
        (GET + b"Host: :80\r\n\r\n", 400, "http.invalid_authority"),
        (b"GET http://a/q HTTP/1.1\r\n\r\n", 400, "missing_host_header"),
        (b"GET http://u@a/q HTTP/1.1\r\n" + HOST + b"\r\n", 400, "http1.invalid_url"),
        (b"GET /q HTTP/1.1\n" + HOST + b"\r\n", 400, "http1.codec_error"),
        (GET + b"Host: a.example\n\n", 400, "http1.codec_error"),
        (b"\r" + GET + HOST + b"\r\n", 400, "http1.codec_error"),
    ],
)  # fmt: skip
def test_refused(data: bytes, status: int, details: str) -> None:
    assert refused(data) == (status, details)


@pytest.mark.parametrize(
    "host", ["", "a", "A.Example:0", "a_b", "a,b", "a%41", "a!$&'()*+;=~b", "a.example:", "[::1]:80", "[fe80::1]"]
)
def test_hosts(host: str) -> None:
    assert head(GET + f"Host: {host}\r\n\r\n".encode()).authority == host


@pytest.mark.parametrize(
    ("line", "authority", "path", "scheme"),
    [
        (b"GET http://b.example/x?y HTTP/1.1", "b.example", "/x?y", "http"),
        (b"GET HTTPS://B.Example:443/ HTTP/1.1", "B.Example:443", "/", "https"),
        (b"GET http://b.example HTTP/1.1", "b.example", "/", "http"),
        (b"GET http://b.example?x HTTP/1.1", "b.example", "/?x", "http"),
        (b"GET http://[::1]:80/ HTTP/1.1", "[::1]:80", "/", "http"),
        (b"GET http://b.example/#f HTTP/1.1", "b.example", "/#f", "http"),
        (b"GET /q#f HTTP/1.1", "a.example", "/q#f", ""),
        (b"OPTIONS * HTTP/1.1", "a.example", "*", ""),
        (b"CONNECT b.example:80 HTTP/1.1", "b.example:80", "", ""),
    ],
)
def test_targets(line: bytes, authority: str, path: str, scheme: str) -> None:
    data = line + b"\r\n" + HOST + b"X: 1\r\n\r\n"
    request = head(data)
    assert (request.authority, request.path, request.scheme) == (authority, path, scheme)
    assert list(request.items()) == [("x", "1")]


def test_absolute_form_can_be_switched_off() -> None:
    data = b"GET http://a.example/q HTTP/1.1\r\n" + HOST + b"\r\n"
    request = head(data, Http1Options(allow_absolute_url=False))
    assert (request.authority, request.path) == ("a.example", "http://a.example/q")


# -- limits


def test_size_limit_is_exact_and_counts_the_empty_line() -> None:
    data = GET + HOST + b"a: %b\r\n\r\n"
    fits = data % (b"b" * (61440 - len(data) + 2))
    assert parse(fits).complete == 1
    assert refused(data % (b"b" * (61440 - len(data) + 3))) == (431, "http1.headers_too_large")
    assert RequestRecorder().feed([fits[:30000], fits[30000:]]).complete == 1


def test_a_head_without_end_is_refused_as_soon_as_it_is_too_large() -> None:
    got = RequestRecorder().feed([GET + HOST, b"a: ", *([b"b" * 1000] * 60)])
    assert got.error is None
    got.feed([b"b" * 1500])
    assert got.error is not None
    assert got.error.details == "http1.headers_too_large"
    assert got.parser.buffered <= 61440


def test_field_count_limit() -> None:
    assert parse(GET + HOST + b"a: b\r\n" * 99 + b"\r\n").complete == 1
    assert refused(GET + HOST + b"a: b\r\n" * 100 + b"\r\n") == (431, "http1.too_many_headers")
    assert parse(GET + HOST + b"a: b\r\n\r\n", Http1Options(max_headers_count=2)).complete == 1
    assert refused(GET + HOST + b"a: b\r\nc: d\r\n\r\n", Http1Options(max_headers_count=2))[0] == 431


def test_empty_lines_before_a_request_are_skipped_up_to_a_limit() -> None:
    assert parse(b"\r\n\r\n" + GET + HOST + b"\r\n").complete == 1
    assert refused(b"\r\n" * 600 + GET + HOST + b"\r\n")[0] == 400


def test_the_limit_of_empty_lines_is_per_request() -> None:
    got = RequestRecorder()
    for _ in range(600):
        got.feed([b"\r\n", GET + HOST + b"\r\n"])
    assert got.complete == 600


# -- bodies


def test_body_by_length_and_pipelining() -> None:
    post = b"POST /q HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    got = parse(post + GET + HOST + b"\r\n" + post)
    assert got.bodies == [b"hello", b"", b"hello"]
    assert got.heads[0].get("content-length") == "5"


def test_chunks_of_one_receive_are_one_call() -> None:
    data = b"POST /q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n" + b"1\r\nx\r\n" * 500 + b"0\r\n\r\n"
    got = RequestRecorder().feed([data])
    assert got.bodies == [b"x" * 500]
    assert got.pieces == 1
    assert "transfer-encoding" not in got.heads[0]


CHUNKED = b"POST /q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b";a\r\nhello\r\n0\r\n\r\n",
        b"5;a\x00\r\nhello\r\n0\r\n\r\n",
        b"5 x\r\nhello\r\n0\r\n\r\n",
        b"10000000000000000\r\nhello",
        b"\xb2\r\nhe\r\n0\r\n\r\n",
        b"0\r\nX-T : 1\r\n\r\n",
        b"0\r\nX-T: 1\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nX@: 1\r\n\r\n",
        b"5;" + b"x" * 5000,
    ],
)
def test_malformed_chunks(body: bytes) -> None:
    got = parse(CHUNKED + body)
    assert got.complete == 0
    assert got.error is not None
    assert (got.error.status, got.error.details) == (400, "http1.codec_error")


@pytest.mark.parametrize(
    "body",
    [b"5 \r\nhello\r\n0\r\n\r\n", b'005;a="b;c"\r\nhello\r\n00;x\r\n\r\n', b"5 ; a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"],
)
def test_unusual_but_legal_chunks(body: bytes) -> None:
    assert parse(CHUNKED + body).bodies == [b"hello"]


def test_chunk_extensions_are_limited_per_message() -> None:
    chunk = b"1;" + b"e" * 60 + b"\r\nx\r\n"
    assert parse(CHUNKED + chunk * 60 + b"0\r\n\r\n").complete == 1
    assert RequestRecorder().feed([CHUNKED + chunk * 80 + b"0\r\n\r\n"]).error is not None


def test_trailers_are_dropped_unless_enabled() -> None:
    data = CHUNKED + b"2\r\nhi\r\n0\r\nX-T: 1\r\nHost: evil\r\nContent-Length: 3\r\nx-t: 2\r\n\r\n"
    assert parse(data).trailers == [[]]
    got = parse(data, Http1Options(enable_trailers=True))
    assert got.trailers == [[("x-t", "1"), ("x-t", "2")]]
    assert got.bodies == [b"hi"]


def test_trailers_have_the_limits_of_headers() -> None:
    many = RequestRecorder().feed([CHUNKED + b"0\r\n" + b"a: b\r\n" * 101 + b"\r\n"])
    large = RequestRecorder().feed([CHUNKED + b"0\r\n", *([b"a: " + b"b" * 5000 + b"\r\n"] * 13)])
    assert [got.error and got.error.details for got in (many, large)] == [
        "http1.too_many_headers",
        "http1.headers_too_large",
    ]


BY_LENGTH = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize(
    "data", [GET, GET + HOST, CHUNKED, CHUNKED + b"5\r\nhel", CHUNKED + b"0\r\n", BY_LENGTH, BY_LENGTH + b"x"]
)
def test_truncated_messages_are_errors(data: bytes) -> None:
    got = parse(data, eof=True)
    assert got.error is not None
    assert got.error.details == "downstream_remote_disconnect"
    assert parse(data).error is None


def test_end_of_input_between_messages_is_none() -> None:
    got = parse(GET + HOST + b"\r\n", eof=True)
    assert got.error is None
    assert got.parser.idle


# -- facts


def facts(fields: bytes, line: bytes = GET, options: Http1Options = Http1Options()) -> tuple[bool, bool, str, bool]:  # noqa: B008  # it is frozen
    got = parse(line + HOST + fields + b"\r\n", options)
    assert got.error is None, got.error
    assert got.facts[0][4] == len(line + HOST + fields) + 2
    return got.facts[0][:4]


def test_facts() -> None:
    old = b"GET /q HTTP/1.0\r\n"
    accept = Http1Options(accept_http_10=True)
    assert facts(b"") == (False, True, "", False)
    assert facts(b"Connection: Keep-Alive , CLOSE\r\n") == (False, False, "", False)
    assert facts(b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n") == (False, True, "websocket", False)
    assert facts(b"Upgrade: websocket\r\n") == (False, True, "", False)
    assert facts(b"Expect: 100-Continue\r\n") == (False, True, "", True)
    assert facts(b"Expect: fly\r\n") == (False, True, "", False)
    assert facts(b"", old, accept) == (True, False, "", False)
    assert facts(b"Connection: keep-alive\r\n", old, accept) == (True, True, "", False)


def test_facts_do_not_leak_into_the_next_message() -> None:
    first = GET + HOST + b"Expect: 100-continue\r\n\r\n"
    assert parse(first + GET + HOST + b"\r\n").facts[1][:4] == (False, True, "", False)
    options = Http1Options(accept_http_10=True)
    first = b"GET /q HTTP/1.0\r\nConnection: keep-alive\r\n" + HOST + b"\r\n"
    assert parse(first + GET + HOST + b"\r\n", options).facts[1][:4] == (False, True, "", False)


def test_h2c_upgrade_is_stripped() -> None:
    data = GET + HOST + b"Connection: Upgrade, HTTP2-Settings, x-a\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"
    got = parse(data)
    assert got.facts[0][2] == ""
    assert list(got.heads[0].items()) == [("connection", "x-a")]


def test_http10() -> None:
    options = Http1Options(accept_http_10=True, default_host_for_http_10="dflt.example")
    assert head(b"GET /q HTTP/1.0\r\n\r\n", options).authority == "dflt.example"
    assert head(b"GET /q HTTP/0.9\r\nHost: b\r\n\r\n", options).authority == "b"
    assert refused(b"GET /q HTTP/1.0\r\n\r\n", Http1Options(accept_http_10=True)) == (400, "missing_host_header")
    assert refused(b"POST /q HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", options) == (400, "http1.codec_error")


def test_allow_chunked_length() -> None:
    data = b"POST /q HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    got = parse(data, Http1Options(allow_chunked_length=True))
    assert got.bodies == [b"hi"]
    assert len(got.heads[0]) == 0


def test_underscores() -> None:
    data = GET + HOST + b"a_b: 1\r\nc: 2\r\na_b: 3\r\n\r\n"
    assert len(head(data)) == 3
    dropping = parse(data, Http1Options(underscores="DROP_HEADER"))
    assert list(dropping.heads[0].items()) == [("c", "2")]
    assert dropping.dropped_names == 2
    assert refused(data, Http1Options(underscores="REJECT_REQUEST")) == (400, "http1.unexpected_underscore")


def test_preserve_case_keeps_the_names_as_written() -> None:
    data = GET + b"HOST: a\r\nX-ReQ: 1\r\nx-req: 2\r\n\r\n"
    got = parse(data, Http1Options(header_key_format=HeaderKeyFormat(preserve=True)))
    assert got.heads[0].written is not None
    assert got.heads[0].written.line("x-req", "a") == "X-ReQ: a\r\n"
    assert got.heads[0].written.line("host", "a") == "HOST: a\r\n"
    assert parse(data).heads[0].written is None


# -- the owner's side


class Owner(RequestRecorder):
    """Acts from within the hooks, as an owner that answers at once does."""

    def on_request(self, request: RequestHeaders, end: bool) -> None:
        super().on_request(request, end)
        if request.path == "/raw":
            self.parser.switch_to_raw()
        elif end:
            self.parser.next_message()

    def _go_on(self) -> None: ...


def test_pipelined_requests_answered_from_within_the_hook() -> None:
    data = (GET + HOST + b"\r\n") * 3000
    owner = Owner()
    owner.feed([data])
    assert owner.complete == 3000
    assert owner.parser.idle


def test_switch_to_raw_from_within_the_hook() -> None:
    owner = Owner()
    data = b"GET /raw HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n"
    owner.feed([data + b"GET / HTTP", b"/1.1\r\n\r\n"])
    assert owner.bodies == [b"GET / HTTP/1.1\r\n\r\n"]
    assert len(owner.heads) == 1


def test_what_follows_waits_for_next_message() -> None:
    parser = RequestRecorder().parser
    data = GET + HOST + b"\r\n"
    parser.receive(data + data[:10])
    assert not parser.idle
    assert parser.buffered == 10
    parser.receive(data[10:])
    assert parser.buffered == len(data)
    parser.next_message()
    parser.next_message()
    assert parser.idle


def test_bytes_behind_an_upgrade_wait_for_the_switch() -> None:
    got = RequestRecorder()
    got.parser.receive(GET + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\nframe")
    assert got.parser.upgrade == "websocket"
    assert got.complete == 1
    assert got.pieces == 0
    got.ended[-1] = False
    got.parser.switch_to_raw()
    got.parser.receive(b"more")
    got.parser.receive_eof()
    assert got.bodies == [b"framemore"]
    assert got.complete == 1


def test_nothing_follows_an_error() -> None:
    errors: list[ProtocolError] = []

    class Sink:
        def on_request(self, request: RequestHeaders, end: bool) -> None:
            raise AssertionError

        def on_request_body(self, data: bytes, end: bool) -> None:
            raise AssertionError

        def on_request_trailers(self, trailers: Headers) -> None:
            raise AssertionError

        def on_dropped_names(self, count: int) -> None:
            raise AssertionError

        def on_request_error(self, error: ProtocolError) -> None:
            errors.append(error)

    parser = RequestParser(Sink(), Http1Options())
    for piece in byte_by_byte(b"BAD\r\n\r\n" + GET + HOST + b"\r\n"):
        parser.receive(piece)
    parser.next_message()
    parser.receive_eof()
    assert len(errors) == 1
    assert parser.buffered == 0
