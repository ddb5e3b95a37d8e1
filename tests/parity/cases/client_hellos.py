"""ClientHellos that are odd, or only look like one: which chain tls_inspector leads them to, and PROXY lines of that kind."""

from __future__ import annotations

import struct
from typing import Any

from ..case import Act, Case, Op, get
from ..known import ODD_SERVER_NAME
from .listeners import PP, V2, plain, say, v2, v2_inet

INSPECTOR = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
CHAINS = (
    say("a", "{server_names: [a.test]}")
    + say("wild", "{server_names: ['*.w.test']}")
    + say("h2", "{application_protocols: [h2], transport_protocol: tls}")
    + say("tls", "{transport_protocol: tls}")
    + say("other")
)
STATS = r"^tls_inspector\.(client_hello_too_large|tls_(not_)?found)"


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack("!HH", kind, len(body)) + body


def named(name: bytes, kind: int = 0) -> bytes:
    entry = bytes([kind]) + struct.pack("!H", len(name)) + name
    return extension(0, struct.pack("!H", len(entry)) + entry)


def alpn(*names: bytes) -> bytes:
    entries = b"".join(bytes([len(name)]) + name for name in names)
    return extension(16, struct.pack("!H", len(entries)) + entries)


def padding(size: int) -> bytes:
    return extension(21, bytes(size))


def hello(
    *extensions: bytes, version: int = 0x0303, session: bytes = b"", suites: bytes = b"\x13\x01\xc0\x2b"
) -> bytes:
    body = struct.pack("!H", version) + bytes(32) + bytes([len(session)]) + session
    body += struct.pack("!H", len(suites)) + suites + b"\x01\0"
    rest = b"".join(extensions)
    if rest:
        body += struct.pack("!H", len(rest)) + rest
    return b"\x01" + len(body).to_bytes(3, "big") + body


def records(message: bytes, *cuts: int, version: int = 0x0301, kind: int = 22) -> bytes:
    out, position = b"", 0
    for cut in (*cuts, len(message)):
        out += struct.pack("!BHH", kind, version, cut - position) + message[position:cut]
        position = cut
    return out


A = named(b"a.test")


def case(name: str, *ops: Op, config: str = "", **options: Any) -> Case:
    filters = f"[{{name: t, typed_config: {{'@type': {INSPECTOR}, {config}}}}}]"
    return Case(
        f"client-hello-{name}",
        clients=(plain(*ops, quiet=0.8),),
        chains=CHAINS,
        listener_filters=filters,
        listener="{listener_filters_timeout: 0.6s}",
        upstreams={},
        timing=False,
        **options,
    )


def strict(name: str, *ops: Op, config: str = "close_connection_on_client_hello_parsing_errors: true") -> Case:
    return case(name, *ops, config=config, stats=STATS, alone=True)


_PRINTS = (
    "access_log: [{file_log: {path: $dir/$case.log, log_format: {text_format_source: "
    '{inline_string: "%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%\\n"}}}}]'
)


def fingerprinted(name: str, *ops: Op, config: str = "") -> Case:
    config = config or "enable_ja3_fingerprinting: true, enable_ja4_fingerprinting: true"
    return Case(
        f"fingerprint-{name}",
        clients=(plain(*ops, quiet=0.4),),
        chains=say("all"),
        listener_filters=f"[{{name: t, typed_config: {{'@type': {INSPECTOR}, {config}}}}}]",
        listener=_PRINTS,
        upstreams={},
        timing=False,
    )


def numbers(*values: int, size: int = 2) -> bytes:
    """A list of 16-bit numbers behind its length."""
    packed = b"".join(struct.pack("!H", value) for value in values)
    return len(packed).to_bytes(size, "big") + packed


GROUPS = extension(10, numbers(0x3A3A, 29, 23, 24))
FORMATS = extension(11, b"\x02\0\1")
SIGNATURES = extension(13, numbers(0x0403, 0x0804, 0x0A0A, 0x0401))
VERSIONS = extension(43, numbers(0x5A5A, 0x0304, 0x0303, size=1))
MADE_UP = extension(0x2A2A, b"")
SUITES = struct.pack("!6H", 0x0A0A, 0x1301, 0x1302, 0xC02B, 0x00FF, 0xC02F)


def proxied(name: str, *ops: Op) -> Case:
    return Case(
        f"proxy-odd-{name}",
        ops,
        listener_filters=PP,
        hcm="use_remote_address: true",
        log="%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%\n",
        masks=((r"127.0.0.1:\d+", "127.0.0.1:<p>"),),
        timing=False,
    )


GET = get().encode()
INET = b"\1\2\3\4\5\6\7\x08\0\1\0\2"
CASES = [
    fingerprinted(
        "all",
        records(hello(MADE_UP, A, GROUPS, FORMATS, SIGNATURES, alpn(b"h2", b"http/1.1"), VERSIONS, suites=SUITES)),
    ),
    fingerprinted("one-by-one", records(hello(VERSIONS, SIGNATURES, A, suites=SUITES))),
    fingerprinted("no-extensions", records(hello(suites=SUITES))),
    fingerprinted("few", records(hello(GROUPS))),
    fingerprinted("made-up-alone", records(hello(MADE_UP, suites=b"\x1a\x1a"))),
    fingerprinted("old", records(hello(A, FORMATS, version=0x0301))),
    fingerprinted("odd-protocol", records(hello(A, alpn(b"\xabq\x00"), SIGNATURES))),
    fingerprinted("short-protocol", records(hello(A, alpn(b"x"), SIGNATURES))),
    fingerprinted("dashed-protocol", records(hello(A, alpn(b"h2-"), SIGNATURES))),
    fingerprinted("made-up-protocol", records(hello(A, alpn(b"\x0a\x0a", b"h2"), SIGNATURES))),
    fingerprinted(
        "many",
        records(
            hello(A, *(extension(60000 + n, b"") for n in range(110)), suites=struct.pack("!120H", *range(100, 220)))
        ),
    ),
    fingerprinted(
        "unsound-lists",
        records(hello(A, extension(10, b"\x00\x05\x00\x1d"), extension(13, b"\x00"), extension(43, b"\x03\x03"))),
    ),
    fingerprinted("groups-by-half", records(hello(A, extension(10, b"\x00\x03\x00\x1d\x00")))),
    fingerprinted("first-alone", records(hello(A, GROUPS)), config="enable_ja3_fingerprinting: true"),
    fingerprinted("last-alone", records(hello(A, GROUPS)), config="enable_ja4_fingerprinting: true"),
    fingerprinted("plain-text", GET),
    case("name-in-capitals", records(hello(named(b"A.TEST")))),
    case("name-with-dot", records(hello(named(b"a.test.")))),
    case("name-one-label", records(hello(named(b"x.w.test")))),
    case("name-two-labels", records(hello(named(b"y.x.w.test")))),
    case("name-no-label", records(hello(named(b"w.test")))),
    case("name-long", records(hello(named(b"a" * 300 + b".w.test")))),
    case("name-of-another-kind", records(hello(named(b"a.test", 1)))),
    case("name-nul", records(hello(named(b"a.test\0b")))),
    case("name-lines", records(hello(named(b"a\r\nb.w.test"))), differs=ODD_SERVER_NAME),
    case("name-twice", records(hello(A, A))),
    case("no-extensions", records(hello())),
    case("split", records(hello(A), 1, 5, 20, 40)),
    case("split-by-nothing", records(hello(A), 10, 10)),
    case("behind-empty-record", records(b"") + records(hello(A))),
    case("empty-record", b"\x16\x03\x01\0\0"),
    case("grease", records(hello(extension(0x0A0A, b""), A, suites=b"\x0a\x0a\x13\x01"))),
    case("record-version-9", records(hello(A), version=0x0900)),
    case("ssl3", records(hello(A, version=0x0300))),
    case("large", records(hello(padding(9000), A))),
    case("too-large", records(hello(padding(16_200), A), 16_000)),
    case("too-long", records(hello(padding(30_000), A), 16_000)),
    case("too-long-in-full-records", records(hello(padding(30_000), A), 16_384)),
    case("session-too-long", records(hello(A, session=bytes(33)))),
    case("odd-suites", records(hello(A, suites=b"\x13"))),
    case("cut", records(hello(A))[:30], 0.1, Act.HALF_CLOSE),
    case("alert", records(b"\2\x28", kind=21)),
    case("data", records(b"hello", kind=23)),
    case("alpn", records(hello(alpn(b"\x0a\x0a", b"h2")))),
    case("alpn-malformed", records(hello(extension(16, b"\0\5\2h")))),
    strict("strict-http", GET),
    strict("strict-too-long", records(hello(padding(30_000), A), 16_000)),
    strict("strict-malformed", records(hello(A, session=bytes(33)))),
    strict("small-limit", records(hello(padding(600), A)), config="max_client_hello_size: 512"),
    case("within-limit", records(hello(padding(200), A)), config="max_client_hello_size: 512"),
    proxied("entry-short", V2 + b"\x21\x11\0\x0e" + INET + b"\x04\0" + GET),
    proxied("entry-beyond-end", V2 + b"\x21\x11\0\x0f" + INET + b"\x04\0\x09" + GET),
    proxied("entries-many", v2_inet("10.1.2.3", "10.9.9.9", 1, 2, b"\x04\0\x01a" * 2000) + GET),
    proxied("unix", v2(1, 0x31, bytes(216)) + GET),
    proxied("no-family", v2(1, 0, bytes(50)) + GET),
    proxied("local-with-addresses", v2(0, 0x11, INET) + GET),
    proxied("twice", v2_inet("10.1.2.3", "10.9.9.9", 1, 2) * 2 + GET),
    proxied("first-version-then-second", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + v2(1, 0x11, INET) + GET),
    proxied("line-feed", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n" + GET),
    proxied("one-word-more", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 x\r\n" + GET),
    proxied("ipv6-in-capitals", b"PROXY TCP6 2001:DB8::A ::2 1 2\r\n" + GET),
    proxied("ports-zero", b"PROXY TCP4 1.1.1.1 2.2.2.2 0 0\r\n" + GET),
    proxied("unknown-long", b"PROXY UNKNOWN " + b"x" * 93 + b"\r\n" + GET),
    proxied("cut", v2_inet("10.1.2.3", "10.9.9.9", 1, 2)[:20], 0.2, Act.HALF_CLOSE),
]
