"""What Envoy lets pass and a peer might read otherwise: meshproxy refuses it."""

from __future__ import annotations

from dataclasses import replace

from .. import known
from ..case import Case, Difference, answer, get


def chunked(name: str, body: str, *, quiet: float = 1.5) -> Case:
    send = get("/", "transfer-encoding: chunked", method="POST") + body
    return Case(f"strict-{name}", send, timing=False, quiet=quiet, differs=known.LOOSE_CHUNKS)


def head(name: str, send: str, difference: Difference) -> Case:
    return Case(f"strict-{name}", send, timing=False, differs=difference)


def posted(name: str, body: str, *lines: str, differs: Difference = known.DIGITS_BEYOND_USE) -> Case:
    return head(name, get("/", *lines, method="POST") + body, differs)


def response(name: str, text: str, differs: Difference) -> Case:
    return Case(
        f"strict-response-{name}",
        (get("/1"), 0.3, get("/2")),
        upstreams=answer(text),
        log="%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n",
        timing=False,
        differs=differs,
    )


def status(name: str, line: str, *, kept: bool = False) -> Case:
    differs = known.ODD_STATUS_LINE
    if kept:
        differs = replace(differs, sections=(*differs.sections, "upstream up"))
    return response(name, f"{line}\r\ncontent-length: 2\r\n\r\nok", differs)


OK = "HTTP/1.1 200 OK\r\n"
CASES = [
    posted("length-with-zeros", "hi", "content-length: 00000000000000000000000002"),
    posted("length-beyond-use", "hi", "content-length: 9223372036854775807"),
    head("user-in-target", "GET http://u:p@a.test/ HTTP/1.1\r\nhost: a.test\r\n\r\n", known.USER_IN_TARGET),
    head("absolute-form-without-host", "GET http://a.test/ HTTP/1.1\r\n\r\n", known.USER_IN_TARGET),
    head("host-with-zone", get(host="[fe80::1%25eth0]"), known.ADDRESS_WITH_ZONE),
    head("hello-of-sslv2", "\x80\x2e\x01\x00\x02", known.NOT_HTTP),
    status("version-1.2", "HTTP/1.2 200 OK"),
    status("version-2.0", "HTTP/2.0 200 OK"),
    status("two-spaces", "HTTP/1.1  200 OK", kept=True),
    status("sign", "HTTP/1.1 +200 OK", kept=True),
    status("four-digits", "HTTP/1.1 1000 OK", kept=True),
    response(
        "behind-chunk",
        f"{OK}transfer-encoding: chunked\r\n\r\n2\r\nokx\r\n0\r\n\r\n",
        known.LOOSE_CHUNKS_OF_HOST,
    ),
    head("bare-cr-in-value", get("/", "x-a: b\rc"), known.BARE_CR),
    head("bare-cr-before-end", get("/", "x-a: b\r"), known.BARE_CR),
    head("bare-lf-before-request", "\n" + get(), known.BARE_LF_SHORT),
    head("host-with-user", get(host="u:p@a.test"), known.ODD_HOST),
    head("host-port-too-large", get(host="a.test:99999"), known.ODD_HOST),
    head("two-spaces-in-request-line", "GET  / HTTP/1.1\r\nhost: h.test\r\n\r\n", known.ODD_SPACES),
    head("space-after-version", "GET / HTTP/1.1 \r\nhost: h.test\r\n\r\n", known.ODD_SPACES),
    chunked("zeros-before-size", "0" * 5000 + "5\r\nhello\r\n0\r\n\r\n"),
    chunked("nul-in-extension", "5;a\0b\r\nhello\r\n0\r\n\r\n"),
    chunked("long-extension", "5;" + "a" * 20000 + "\r\nhello\r\n0\r\n\r\n"),
    chunked("many-extensions", ("1;" + "a" * 60 + "\r\nx\r\n") * 500 + "0\r\n\r\n"),
    chunked("junk-after-size", "5 x\r\nhello\r\n0\r\n\r\n"),
    chunked("bare-lf-in-trailer", "5\r\nhello\r\n0\r\nx-t: 1\n\r\n"),
    chunked("fold-in-trailer", "5\r\nhello\r\n0\r\nx-t: a\r\n b\r\n\r\n"),
    chunked("many-trailers", "5\r\nhello\r\n0\r\n" + "".join(f"x-{i}: 1\r\n" for i in range(200)) + "\r\n"),
]
