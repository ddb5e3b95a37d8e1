"""grpc_json_transcoder: JSON clients of a gRPC service."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from google.protobuf import text_format

from ...bookshelf import SERVICE, book_message, descriptor_set
from ..case import REFUSE, Case, Upstream, get
from ..grpc_peer import closing, pieces
from ..h2_peer import Data, Head

_TYPE = "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"
_H2 = """
typed_extension_protocol_options:
  http: {"@type": HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}
"""
_GRPC = ("content-type", "application/grpc")
_LOG = "%RESPONSE_CODE% %PROTOCOL% %REQ(:PATH)%\n"


def framed(message: Any) -> Data:
    raw = message.SerializeToString()
    return Data(b"\0" + len(raw).to_bytes(4, "big") + raw)


def shelf(**fields: Any) -> Any:
    return book_message("books.v1.Shelf", **fields)


def answer(*messages: Any, status: str = "0", text: str = "") -> tuple[Any, ...]:
    told = (("grpc-status", status), *((("grpc-message", text),) if text else ()))
    return (Head(200, (_GRPC,)), *(framed(each) for each in messages), Head(None, told, True))


def _show(kind: str) -> Callable[[bytes], str]:
    """Messages as text: the order of their fields on the wire isn't compared."""

    def show(body: bytes) -> str:
        parsed = [type(book_message(kind)).FromString(piece) for piece in pieces(body)]
        return " | ".join(text_format.MessageToString(message, as_one_line=True) for message in parsed)

    return show


FULL = shelf(id=5, theme='a<b>é"\n', kind=1, tags=["x", "y"], weight=1.5, blob=b"\xff\0", open=True, long_name=3)
FULL.inner.weight = 2
FULL.made.seconds = 1_700_000_000
FULL.size.value = 0


def transcoded(
    name: str, *requests: Any, config: dict[str, Any] | None = None, script: Any = None, takes: str = "Ask", **more: Any
) -> Case:
    takes = f"books.v1.{takes}"
    typed = {
        "@type": _TYPE,
        "services": [SERVICE],
        "proto_descriptor_bin": base64.b64encode(descriptor_set()).decode(),
        **(config or {}),
    }
    more.setdefault("upstreams", {"up": Upstream((script or answer(FULL),), mode="h2", view=_show(takes))})
    return Case(
        f"transcoder-{name}",
        closing(requests),
        quiet=5.0,
        timing=False,
        filters=json.dumps([{"name": "transcoder", "typed_config": typed}]),
        cluster=_H2,
        log=_LOG,
        **more,
    )


def post(path: str, body: Any, *lines: str, method: str = "POST") -> str:
    text = body if isinstance(body, str) else json.dumps(body)
    return get(path, "content-type: application/json", *lines, method=method, body=text)


def printed(name: str, **options: bool) -> Case:
    return transcoded(f"print-{name}", get("/v1/shelves/5"), config={"print_options": options})


def streamed(name: str, *messages: Any, **options: bool) -> Case:
    script = answer(*messages)
    return transcoded(f"stream-{name}", get("/v1/list/a/b"), config={"print_options": options}, script=script)


def bad(name: str, *requests: Any, **more: Any) -> Case:
    """What is refused in words of one's own."""
    masks = ((r"content-length: [1-9]\d*", "content-length: <some>"), (r"\[length \d+\] .*", "<why>"))
    return transcoded(f"bad-{name}", *requests, masks=masks, flat_upstream=True, **{"takes": "Ask", **more})


def put(body: str) -> str:
    return post("/v1/shelves/9", body, method="PUT")


_ONE, _TWO = shelf(id=1), shelf(theme="t")
_BODY = {
    "id": "7",
    "theme": "t",
    "kind": "SMALL",
    "tags": ["a"],
    "weight": 1e3,
    "longName": 4,
    "made": "2024-01-02T03:04:05Z",
}
_NOT_FOUND = answer(status="5", text="no such shelf")
_AT_ONCE = (Head(200, (_GRPC, ("grpc-status", "7"), ("grpc-message", "no")), True),)
_IGNORE = {"ignore_unknown_query_parameters": True}

CASES = [
    transcoded("get", get("/v1/shelves/5")),
    transcoded(
        "negative", get("/v1/shelves/-5?deep=true&kind=SMALL&tags=a&tags=b%20c&filter.longName=3&filter.inner.id=2")
    ),
    transcoded("literal-first", get("/v1/shelves/first?name=x")),
    transcoded("verb", get("/v1/shelves/a%2Fb/books/c%20d:read")),
    transcoded(
        "well-known",
        get("/v1/shelves/1?filter.size=5&filter.made=2024-01-02T03:04:05Z&filter.blob=aGk=&filter.weight=2.5"),
    ),
    transcoded("nested-body", post("/v1/of/me", {"theme": "t"}), takes="Create"),
    transcoded("nested-body-empty", post("/v1/of/me", "{}"), takes="Create"),
    transcoded("whole-body", post("/v1/shelves/9", _BODY, method="PUT"), takes="Shelf"),
    transcoded("unknown-in-body", post("/v1/shelves/9", {"none": 1, "theme": "t"}, method="PUT"), takes="Shelf"),
    transcoded("custom-method", post("/v1/shelves", {"id": 5}, method="TUNE"), takes="Shelf"),
    transcoded("upload", post("/v1/upload", [{"id": 1}, {"id": "2"}]), takes="Shelf"),
    transcoded("auto", post("/books.v1.Books/Auto", {"shelf": 3}), config={"auto_mapping": True}),
    transcoded("no-auto", post("/books.v1.Books/Auto", {"shelf": 3})),
    transcoded("ignored", get("/v1/shelves/5?x=1&none=2"), config={"ignored_query_parameters": ["x", "none"]}),
    transcoded("ignores-unknown", get("/v1/shelves/5?x=1"), config=_IGNORE),
    transcoded("plus", get("/v1/shelves/5?name=a+b"), config={"query_param_unescape_plus": True}),
    transcoded("no-plus", get("/v1/shelves/5?name=a+b%2B")),
    transcoded("enum-any-case", get("/v1/shelves/5?kind=small"), config={"case_insensitive_enum_parsing": True}),
    transcoded("grpc-passes", get("/v1/shelves/5", "content-type: application/grpc", method="POST", body="x")),
    transcoded("other-path-passes", get("/v1/none")),
    transcoded("other-method-passes", get("/v1/shelves/5", method="DELETE")),
    transcoded(
        "raw", get("/v1/raw"), script=answer(book_message("google.api.HttpBody", content_type="text/x", data=b"raw!"))
    ),
    transcoded("raw-body", get("/v1/raw/n", "content-type: text/y", method="POST", body="raw?"), takes="Put"),
    transcoded("not-found", get("/v1/shelves/5"), script=_NOT_FOUND),
    transcoded("not-found-converted", get("/v1/shelves/5"), script=_NOT_FOUND, config={"convert_grpc_status": True}),
    transcoded("at-once", get("/v1/shelves/5"), script=_AT_ONCE),
    transcoded("at-once-converted", get("/v1/shelves/5"), script=_AT_ONCE, config={"convert_grpc_status": True}),
    transcoded(
        "no-status", get("/v1/shelves/5"), script=(Head(200, (_GRPC,)), framed(_ONE), Head(None, (("x-a", "b"),), True))
    ),
    transcoded("body-and-bad-status", get("/v1/shelves/5"), script=answer(_ONE, status="13")),
    transcoded("empty-answer", get("/v1/shelves/5"), script=answer(shelf())),
    transcoded(
        "no-grpc-answer", get("/v1/shelves/5"), script=(Head(404, (("content-type", "text/plain"),)), Data(b"no", True))
    ),
    transcoded("refused", get("/v1/shelves/5"), upstreams=REFUSE),
    transcoded(
        "kept-route",
        get("/v1/shelves/5"),
        config={"match_incoming_request_route": True},
        routes="[{match: {prefix: /v1}, route: {cluster: $up}}]",
    ),
    transcoded(
        "new-route",
        get("/v1/shelves/5"),
        routes="[{match: {prefix: /v1}, direct_response: {status: 299}}, {match: {prefix: /books.v1}, route: {cluster: $up}}]",
    ),
    printed("whitespace", add_whitespace=True),
    printed("defaults", always_print_primitive_fields=True),
    printed("numbers", always_print_enums_as_ints=True),
    printed("proto-names", preserve_proto_field_names=True),
    streamed("array", _ONE, _TWO),
    streamed("nothing"),
    streamed("lines", _ONE, _TWO, stream_newline_delimited=True),
    streamed("events", _ONE, _TWO, stream_sse_style_delimited=True),
    transcoded("stream-at-once", get("/v1/list/a"), script=_AT_ONCE),
    *(
        bad(f"body-{number}", put(body), takes="Shelf")
        for number, body in enumerate(
            (
                "{",
                "[]",
                "1",
                '{"id":"x"}',
                '{"kind":"NONE"}',
                '{"kind":9}',
                '{"blob":"*"}',
                '{"tags":"a"}',
                "",
                '{"open":"true"}',
                '{"theme":5}',
                '{"id":1.0}',
                '{"weight":"1.5"}',
                '{"made":"x"}',
                '{"id":null}',
            ),
        )
    ),
    *(
        bad(f"query-{number}", get(f"/v1/shelves/1?{query}"))
        for number, query in enumerate(
            (
                "none=1",
                "shelf=x",
                "deep=1",
                "deep=TRUE",
                "kind=none",
                "filter=1",
                "filter.none=1",
                "name",
                "&&",
                "filter.blob=a-_",
                "filter.weight=x",
                "kind=7",
                "filter.weight=NaN",
            ),
        )
    ),
    bad(
        "query",
        get("/v1/shelves/1?none=1"),
        config={"request_validation_options": {"reject_unknown_query_parameters": True}},
    ),
    bad(
        "query-ignored",
        get("/v1/shelves/1?none=1"),
        config={**_IGNORE, "request_validation_options": {"reject_unknown_query_parameters": True}},
    ),
    bad(
        "collision",
        put('{"id":2}'),
        config={"request_validation_options": {"reject_binding_body_field_collisions": True}},
        takes="Shelf",
    ),
    bad("path", get("/v1/shelves/x")),
    bad("method", get("/none"), config={"request_validation_options": {"reject_unknown_method": True}}),
    transcoded("unknown-service", get("/"), config={"services": ["books.v1.None"]}, refused=True),
    transcoded("bad-descriptors", get("/"), config={"proto_descriptor_bin": "AAAA"}, refused=True),
]
