"""compressor and decompressor: who gets what compressed, and what the heads say of it. Bodies are shown decompressed."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import brotli
import zstandard

from ..case import Case, answer, client, get

_HTTP = "envoy.extensions.filters.http."
_LIBRARY = "envoy.extensions.compression."
_NAMES = {"gzip": "Gzip", "brotli": "Brotli", "zstd": "Zstd"}
TEXT = "All that is gold does not glitter, not all those who wander are lost. " * 20
_CHUNKS = 5000


def _library(kind: str, direction: str, **config: Any) -> dict[str, Any]:
    name = f"type.googleapis.com/{_LIBRARY}{kind}.{direction}.v3.{_NAMES[kind]}"
    return {"name": "text", "typed_config": {"@type": name, **config}}


def compressor(kind: str = "gzip", library: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    return {
        "name": f"compressor-{kind}",
        "typed_config": {
            "@type": f"type.googleapis.com/{_HTTP}compressor.v3.Compressor",
            "compressor_library": _library(kind, "compressor", **(library or {})),
            **config,
        },
    }


def decompressor(kind: str = "gzip", **config: Any) -> dict[str, Any]:
    return {
        "name": f"decompressor-{kind}",
        "typed_config": {
            "@type": f"type.googleapis.com/{_HTTP}decompressor.v3.Decompressor",
            "decompressor_library": _library(kind, "decompressor"),
            **config,
        },
    }


def shown(body: str) -> str:
    """A body in whatever encoding as text."""
    data = body.encode("latin-1")
    for decode in (gzip.decompress, brotli.decompress, zstandard.ZstdDecompressor().decompressobj().decompress):
        try:
            return decode(data).decode("latin-1")
        except (OSError, EOFError, zlib.error, brotli.error, zstandard.ZstdError):
            continue
    return body


def respond(*lines: str, body: str = TEXT, status: str = "200 OK", kind: str = "text/plain") -> str:
    heads = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *([f"content-type: {kind}"] if kind else []), *lines]
    return "\r\n".join([*heads, "", body])


def compressed(name: str, *lines: str, filters: Any = None, reply: str = "", **more: Any) -> Case:
    """A request with `lines` to an upstream that answers `reply`."""
    return Case(
        f"compression-{name}",
        clients=more.pop("clients", (client(get("/", *lines), view=shown, timing=False),)),
        filters=json.dumps(filters if filters is not None else [compressor()]),
        upstreams=answer(reply or respond()),
        stats=r"^http\.$case\.(de)?compressor\.(?!.*(total_compressed|decompressor_library|failed))",
        log="%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n",
        **more,
    )


GZIP = "accept-encoding: gzip"
_ON = {"common_config": {"enabled": {"default_value": True, "runtime_key": "none"}}}


def accepting(value: str, number: int, *kinds: str) -> Case:
    filters = [compressor(kind) for kind in kinds or ("gzip",)]
    return compressed(f"accept-{number}", f"accept-encoding: {value}", filters=filters)


_ACCEPTED = (
    "gzip",
    "GZIP",
    "gzip;q=0",
    "gzip;q=0.5",
    "gzip; q = 0.5",
    "gzip;q=1e-1",
    "gzip;Q=0",
    "gzip;level=9",
    "gzip;",
    "gzip;q=1.5",
    "gzip;q=x",
    "gzip;q=",
    "gzip;foo=0.5",
    "identity",
    "identity, gzip;q=0.5",
    "gzip, identity",
    "deflate",
    "*",
    "*;q=0",
    "deflate, *;q=0.1",
    "x-gzip",
    "gzip,deflate,br",
    "",
    ",,gzip",
    "identity;q=0",
)
_SEVERAL = (
    "br, gzip",
    "gzip;q=0.1, br",
    "gzip, br;q=0.9",
    "*",
    "zstd",
    "identity;q=0.1, zstd;q=0.2, br;q=0.1",
    "deflate",
)

PLAIN_BODY = f"content-length: {len(TEXT)}"


def post(*lines: str, body: str = TEXT) -> str:
    return "\r\n".join(["POST / HTTP/1.1", "host: h.test", *lines, f"content-length: {len(body)}", "", body])


def encoded(data: bytes) -> str:
    return data.decode("latin-1")


def packed(name: str, data: bytes, *lines: str, filters: Any = None, **more: Any) -> Case:
    """An upstream that answers with `data`, which are encoded."""
    head = "\r\n".join(["HTTP/1.1 200 OK", f"content-length: {len(data)}", "content-type: text/plain", *lines, "", ""])
    case_filters = filters if filters is not None else [decompressor()]
    return Case(
        f"decompression-{name}",
        clients=(client(get(), timing=False),),
        filters=json.dumps(case_filters),
        upstreams=answer(head.encode() + data),
        stats=r"^http\.$case\.decompressor\.(?!.*(decompressor_library|failed))",
        **more,
    )


PACKED = gzip.compress(TEXT.encode(), mtime=0)

CASES = [
    compressed(
        "statistics-of-directions",
        "accept-encoding: gzip",
        filters=[compressor(response_direction_config={}, request_direction_config={"common_config": {}})],
    ),
    compressed("nothing-accepted"),
    *(accepting(value, number) for number, value in enumerate(_ACCEPTED)),
    *(accepting(value, 100 + n, "gzip", "brotli", "zstd") for n, value in enumerate(_SEVERAL)),
    compressed(
        "first-wins-among-equals",
        "accept-encoding: br, gzip",
        filters=[compressor(choose_first=True), compressor("brotli")],
    ),
    compressed("brotli", "accept-encoding: br", filters=[compressor("brotli")]),
    compressed("zstd", "accept-encoding: zstd", filters=[compressor("zstd")]),
    compressed("short", GZIP, reply=respond(body="x" * 29)),
    compressed("just-long-enough", GZIP, reply=respond(body="x" * 30)),
    compressed(
        "min-length",
        GZIP,
        filters=[compressor(response_direction_config={"common_config": {"min_content_length": 5000}})],
    ),
    compressed("type-image", GZIP, reply=respond(kind="image/png")),
    compressed("type-with-charset", GZIP, reply=respond(kind="text/html; charset=utf-8")),
    compressed("type-in-capitals", GZIP, reply=respond(kind="Text/Plain")),
    compressed("no-type", GZIP, reply=respond(kind="")),
    compressed(
        "types-of-ones-own",
        GZIP,
        filters=[compressor(response_direction_config={"common_config": {"content_type": ["a/b"]}})],
        reply=respond(kind="a/b"),
    ),
    compressed("encoded-already", GZIP, reply=respond("content-encoding: br")),
    compressed("no-transform", GZIP, reply=respond("cache-control: max-age=1, No-Transform")),
    compressed("strong-etag", GZIP, reply=respond('etag: "abc"')),
    compressed("weak-etag", GZIP, reply=respond('etag: W/"abc"')),
    compressed(
        "not-with-etag",
        GZIP,
        filters=[compressor(response_direction_config={"disable_on_etag_header": True})],
        reply=respond('etag: "abc"'),
    ),
    compressed("vary", GZIP, reply=respond("vary: Origin")),
    compressed("vary-already", GZIP, reply=respond("vary: accept-encoding")),
    compressed(
        "chunked",
        GZIP,
        reply="HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/plain\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    compressed("empty", GZIP, reply=respond(body="")),
    compressed("no-content", GZIP, reply="HTTP/1.1 204 No Content\r\n\r\n"),
    compressed(
        "head",
        clients=(client(get("/", GZIP, method="HEAD"), timing=False),),
        reply=f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{PLAIN_BODY}\r\n\r\n",
    ),
    compressed(
        "accept-encoding-is-removed",
        GZIP,
        filters=[compressor(response_direction_config={"remove_accept_encoding_header": True})],
    ),
    compressed(
        "off",
        GZIP,
        filters=[
            compressor(
                response_direction_config={
                    "common_config": {"enabled": {"default_value": False, "runtime_key": "none"}}
                }
            )
        ],
    ),
    compressed(
        "code-not-compressed",
        GZIP,
        filters=[compressor(response_direction_config={"uncompressible_response_codes": [404]})],
        reply=respond(status="404 Not Found"),
    ),
    compressed(
        "old-fields",
        GZIP,
        filters=[compressor(content_length=100, remove_accept_encoding_header=True)],
        reply=respond(body="y" * 50),
    ),
    compressed(
        "local-reply",
        GZIP,
        routes='[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "a long enough text to be compressed at last"}}}]',
    ),
    compressed(
        "route-off",
        GZIP,
        routes=json.dumps(
            [
                {
                    "match": {"prefix": "/"},
                    "route": {"cluster": "$up"},
                    "typed_per_filter_config": {
                        "compressor-gzip": {
                            "@type": f"type.googleapis.com/{_HTTP}compressor.v3.CompressorPerRoute",
                            "disabled": True,
                        }
                    },
                }
            ]
        ),
    ),
    compressed(
        "route-removes-accept",
        GZIP,
        routes=json.dumps(
            [
                {
                    "match": {"prefix": "/"},
                    "route": {"cluster": "$up"},
                    "typed_per_filter_config": {
                        "compressor-gzip": {
                            "@type": f"type.googleapis.com/{_HTTP}compressor.v3.CompressorPerRoute",
                            "overrides": {"response_direction_config": {"remove_accept_encoding_header": True}},
                        }
                    },
                }
            ]
        ),
    ),
    packed("response", PACKED, "content-encoding: gzip"),
    packed("not-encoded", TEXT.encode()),
    packed("other-encoding", b"x" * 50, "content-encoding: br"),
    packed("in-capitals", PACKED, "content-encoding: GZIP"),
    packed("outer-of-two", PACKED, "content-encoding: gzip, br"),
    packed("inner-of-two", PACKED, "content-encoding: br, gzip"),
    packed("no-transform", PACKED, "content-encoding: gzip", "cache-control: no-transform"),
    packed(
        "no-transform-ignored",
        PACKED,
        "content-encoding: gzip",
        "cache-control: no-transform",
        filters=[decompressor(response_direction_config={"common_config": {"ignore_no_transform_header": True}})],
    ),
    packed("brotli", brotli.compress(TEXT.encode()), "content-encoding: br", filters=[decompressor("brotli")]),
    packed("zstd", zstandard.compress(TEXT.encode()), "content-encoding: zstd", filters=[decompressor("zstd")]),
    packed(
        "not-advertised",
        PACKED,
        "content-encoding: gzip",
        filters=[decompressor(request_direction_config={"advertise_accept_encoding": False})],
    ),
    packed(
        "off",
        PACKED,
        "content-encoding: gzip",
        filters=[
            decompressor(
                response_direction_config={
                    "common_config": {"enabled": {"default_value": False, "runtime_key": "none"}}
                }
            )
        ],
    ),
    Case(
        "decompression-request",
        clients=(
            client(
                post("content-encoding: gzip", "accept-encoding: br", body="")
                .replace("content-length: 0", f"content-length: {len(PACKED)}")
                .encode()
                + PACKED,
                timing=False,
            ),
        ),
        filters=json.dumps([decompressor()]),
        stats=r"^http\.$case\.decompressor\.(?!.*(decompressor_library|failed))",
    ),
    Case(
        "decompression-advertises-once",
        clients=(client(get("/", "accept-encoding: br, gzip"), timing=False),),
        filters=json.dumps([decompressor()]),
    ),
]
