"""What Envoy lets pass and a peer might read otherwise: meshproxy refuses it."""

from __future__ import annotations

from .. import known
from ..case import Case, Difference, get


def chunked(name: str, body: str, *, quiet: float = 1.5) -> Case:
    send = get("/", "transfer-encoding: chunked", method="POST") + body
    return Case(f"strict-{name}", send, timing=False, quiet=quiet, differs=known.LOOSE_CHUNKS)


def head(name: str, send: str, difference: Difference) -> Case:
    return Case(f"strict-{name}", send, timing=False, differs=difference)


CASES = [
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
