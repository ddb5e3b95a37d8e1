"""`Http1ProtocolOptions` that change what a request may be: methods of one's own, upgrades that aren't heard."""

from __future__ import annotations

from typing import Any

from ..case import Act, Case, Op, Slow, answer, get
from ..known import ODD_SPACES
from .tunnel_ends import SWITCH

METHODS = "http_protocol_options: {allow_custom_methods: true}"
OWN_HOST = "typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: {http_protocol_options: {allow_custom_methods: true}}}}"


def ignoring(name: str, matchers: str, *lines: str, more: str = "") -> Case:
    return Case(
        f"ignored-upgrade-{name}",
        get("/", *lines),
        hcm=f"{{http_protocol_options: {{ignore_http_11_upgrade: [{matchers}]}}{more}}}",
    )


def method(name: str, send: Op, **options: Any) -> Case:
    return Case(f"custom-method-{name}", send if isinstance(send, tuple) else (send,), hcm=METHODS, **options)


def start(line: str) -> str:
    return f"{line}\r\nhost: h.test\r\n\r\n"


FOO = "{exact: foo}"
CASES = [
    ignoring("exact", FOO, "connection: Upgrade", "upgrade: foo", "x-a: b"),
    ignoring("other-case", FOO, "connection: Upgrade", "upgrade: FOO"),
    ignoring("any-case", "{exact: foo, ignore_case: true}", "connection: Upgrade", "upgrade: FOO"),
    ignoring("prefix", "{prefix: TLS/}", "connection: Upgrade", "upgrade: TLS/1.0"),
    ignoring("regex", "{safe_regex: {regex: 'TLS/1.[0-9]'}}", "connection: Upgrade", "upgrade: TLS/1.3"),
    ignoring("one-of-two", "{prefix: TLS/}", "connection: Upgrade, x-a", "upgrade: TLS/1.0, HTTP/2.0", "x-a: b"),
    ignoring("two-of-two", "{prefix: TLS/}", "connection: Upgrade, x-a", "upgrade: TLS/1.0,TLS/1.2", "x-a: b"),
    ignoring("two-matchers", f"{FOO}, {{exact: bar}}", "connection: Upgrade", "upgrade: foo, bar"),
    ignoring("two-lines", FOO, "connection: Upgrade", "upgrade: foo", "upgrade: bar"),
    ignoring("commas", FOO, "connection: Upgrade", "upgrade: ,foo,,"),
    ignoring("empty", FOO, "connection: Upgrade", "upgrade:"),
    ignoring("h2c-and", FOO, "connection: Upgrade, HTTP2-Settings", "upgrade: h2c, foo", "http2-settings: x"),
    ignoring("not-named-by-connection", FOO, "upgrade: foo"),
    ignoring(
        "configured-one-is-left",
        FOO,
        "connection: Upgrade",
        "upgrade: foo, WebSocket",
        more=", upgrade_configs: [{upgrade_type: websocket}]",
    ),
    ignoring(
        "configured-one",
        "{exact: websocket}",
        "connection: keep-alive, Upgrade",
        "upgrade: websocket",
        more=", upgrade_configs: [{upgrade_type: websocket}]",
    ),
    Case(
        "ignored-upgrade-with-body",
        get("/", "connection: upgrade", "upgrade: foo", body="hello") + get("/2"),
        hcm=f"http_protocol_options: {{ignore_http_11_upgrade: [{FOO}]}}",
    ),
    Case(
        "upgrade-post",
        (get("/", "connection: Upgrade", "upgrade: websocket", method="POST"), 0.2, "x"),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer(Act.RAW, SWITCH, Act.ECHO, at="head"),
    ),
    Case("target-of-another-scheme", "GET file:///etc/passwd HTTP/1.1\r\nhost: h.test\r\n\r\n"),
    Case("upgrade-empty", get("/", "connection: upgrade", "upgrade:")),
    method("unknown", start("FOO / HTTP/1.1")),
    method("with-body", get("/", method="FOO", body="hello"), cluster=OWN_HOST),
    method("any-token", start("A!#$%&'*+-.^_`|~9 / HTTP/1.1")),
    method("lower-case", start("head / HTTP/1.1")),
    method("lower-case-connect", start("connect h.test:80 HTTP/1.1")),
    method("byte-by-byte", Slow(start("F-O / HTTP/1.1")), timing=False),
    method("behind-empty-line", "\r\n" + start("FOO / HTTP/1.1")),
    method("absolute-form", start("FOO http://h.test/x HTTP/1.1")),
    method("star", start("FOO * HTTP/1.1")),
    method("no-token", start("A(B / HTTP/1.1")),
    method("control", start("A\x01 / HTTP/1.1")),
    method("beyond-ascii", start("F\xe9 / HTTP/1.1")),
    method("none", start(" / HTTP/1.1")),
    method("colon", "a: b\r\n\r\n"),
    method("preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    method("handshake", "\x16\x03\x01\x02\x00\x01\x00"),
    method("two-spaces", start("FOO  / HTTP/1.1"), differs=ODD_SPACES, timing=False),
]
