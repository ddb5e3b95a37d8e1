"""grpc_http1_reverse_bridge: clients of gRPC that call hosts of plain HTTP."""

from __future__ import annotations

import json
from typing import Any

from ..case import REFUSE, Case, answers
from ..h2_wire import data, h2get, head
from .h2_downstream import h2

_KIND = "type.googleapis.com/envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3."
_GRPC = "content-type: application/grpc+proto"
_PROTOBUF = "application/x-protobuf"
FRAME = b"\0\0\0\0\5hello"


def told(body: str = "there", *lines: str, status: str = "200 OK", kind: str = _PROTOBUF, cut: int = 0) -> str:
    """An answer; with `cut` in two chunks."""
    first = f"HTTP/1.1 {status}\r\n" + "".join(
        f"{line}\r\n" for line in (f"content-type: {kind}", *lines) if kind or line[0] != "c"
    )
    if not cut:
        return f"{first}content-length: {len(body)}\r\n\r\n{body}"
    chunks = "".join(f"{len(each):x}\r\n{each}\r\n" for each in (body[:cut], body[cut:]))
    return f"{first}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"


def call(*lines: str, body: bytes = FRAME, kind: str = _GRPC) -> bytes:
    return h2get(1, "/a.B/C", kind, "te: trailers", *lines, method="POST", body=body)


def bridged(name: str, *said: str, send: tuple[Any, ...] = (call(),), vhost: Any = None, **more: Any) -> Case:
    given: dict[str, Any] = {
        key: more.pop(key) for key in ("withhold_grpc_frames", "response_size_header") if key in more
    }
    config: dict[str, Any] = {"@type": f"{_KIND}FilterConfig", "content_type": _PROTOBUF, **given}
    more.setdefault("upstreams", answers(*(said or (told(),))))
    return Case(
        f"reverse-bridge-{name}",
        clients=h2(*send, timing=False),
        filters=json.dumps([{"name": "bridge", "typed_config": config}]),
        vhost=json.dumps(vhost or {}),
        log="%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %GRPC_STATUS%\n",
        **more,
    )


BARE: dict[str, Any] = {"withhold_grpc_frames": True}
SIZED: dict[str, Any] = {**BARE, "response_size_header": "x-size"}
_TRAILERS = "{http_protocol_options: {enable_trailers: true}}"
_TRAILED = f"HTTP/1.1 200 OK\r\ncontent-type: {_PROTOBUF}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nthere\r\n0\r\nx-t: 1\r\n\r\n"
_UPSTREAM = (
    f"typed_extension_protocol_options: {{http: {{'@type': HttpProtocolOptions, explicit_http_config: {_TRAILERS}}}}}"
)

CASES = [
    bridged("framed", told(FRAME.decode())),
    bridged("framed-none", told("")),
    bridged("framed-in-two", told(FRAME.decode(), cut=3)),
    bridged("bare", **BARE),
    bridged("bare-length", send=(call(f"content-length: {len(FRAME)}"),), **BARE),
    bridged("bare-in-two", told(cut=2), **BARE),
    bridged("bare-none", told(""), **BARE),
    bridged("bare-error", told(status="404 Not Found"), **BARE),
    bridged("bare-trailers", _TRAILED, cluster=_UPSTREAM, **BARE),
    bridged("sized", told("there", "x-size: 5"), **SIZED),
    bridged("sized-in-two", told("there", "x-size: 5", cut=2), **SIZED),
    bridged("sized-missing", **SIZED),
    bridged("sized-odd", told("there", "x-size: 5x"), **SIZED),
    bridged("sized-wrong", told("there", "x-size: 6"), **SIZED),
    bridged("sized-none", told("", "x-size: 0"), **SIZED),
    bridged("other-kind", told(kind="text/plain")),
    bridged("no-kind", told(kind="")),
    bridged("other-kind-error", told(kind="text/html", status="503 Service Unavailable")),
    bridged("nobody-there", upstreams=REFUSE),
    bridged("answered-here", routes="[{match: {prefix: /}, direct_response: {status: 403, body: {inline_string: sorry}}}]"),
    bridged("too-small", send=(call(body=b"\0\0"),), **BARE),
    bridged("message-in-two", send=(head(1, (":method", "POST"), (":path", "/a.B/C"), (":scheme", "http"), (":authority", "h.test"), ("content-type", "application/grpc"), end=False), 0.05, data(1, FRAME[:7]), 0.05, data(1, FRAME[7:], end=True)), **BARE),
    bridged("no-grpc", told(kind="text/plain"), send=(call(kind="content-type: text/plain"),)),
    bridged("no-body", told(kind="text/plain"), send=(h2get(1, "/a.B/C", _GRPC, method="POST"),)),
    bridged("off-by-route", told(FRAME.decode(), kind="application/grpc"), vhost={"typed_per_filter_config": {"bridge": {"@type": f"{_KIND}FilterConfigPerRoute", "disabled": True}}}),
    bridged("not-off-by-route", told(FRAME.decode()), vhost={"typed_per_filter_config": {"bridge": {"@type": f"{_KIND}FilterConfigPerRoute"}}}),
    bridged("rerouted", told(FRAME.decode()), routes="[{match: {prefix: /, headers: [{name: content-type, string_match: {exact: application/x-protobuf}}]}, route: {cluster: $up}}, {match: {prefix: /}, direct_response: {status: 404}}]"),
]  # fmt: skip
