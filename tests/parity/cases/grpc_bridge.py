"""grpc_http1_bridge: clients of HTTP/1.1 that call gRPC services."""

from __future__ import annotations

import json
from typing import Any

from ..case import REFUSE, Case, Upstream, client, get
from ..grpc_peer import closing
from ..h2_peer import Data, Head
from ..h2_wire import data, h2get, hello

_TYPE = "type.googleapis.com/envoy.extensions.filters.http.grpc_http1_bridge.v3.Config"
_H2 = """
typed_extension_protocol_options:
  http: {"@type": HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}
"""
_GRPC = ("content-type", "application/grpc")
_FRAME = b"\0\0\0\0\5hello"


def answer(status: str, message: str = "", *, body: bytes = _FRAME) -> tuple[Any, ...]:
    trailers = (("grpc-status", status), *((("grpc-message", message),) if message else ()), ("x-own", "1"))
    return (Head(200, (_GRPC,)), *((Data(body),) if body else ()), Head(None, trailers, True))


def bridged(name: str, *requests: Any, config: dict[str, Any] | None = None, script: Any = None, **more: Any) -> Case:
    call = get("/a.B/C?x=1", "content-type: application/grpc", method="POST", body=_FRAME.decode())
    config = {"@type": _TYPE, **(config or {})}
    more.setdefault("upstreams", {"up": Upstream((script or answer("0"),), mode="h2")})
    return Case(
        f"grpc-bridge-{name}",
        closing(requests or (call,)),
        quiet=5.0,
        timing=False,
        filters=json.dumps([{"name": "bridge", "typed_config": config}]),
        cluster=_H2,
        **more,
    )


def bare(kind: str = "application/x-protobuf", body: str = "hi") -> str:
    return get("/a.B/C", f"content-type: {kind}", method="POST", body=body)


_UPGRADE = {"upgrade_protobuf_to_grpc": True}
_TRAILERS = "{http_protocol_options: {enable_trailers: true}}"
_HEAD_ONLY = (Head(200, (_GRPC, ("grpc-status", "5"), ("grpc-message", "none")), True),)
_CALL_2 = hello() + h2get(1, "/a.B/C", "content-type: application/grpc", "te: trailers", method="POST", end=False)

CASES = [
    bridged("good"),
    bridged("bad", script=answer("5", "not%20found")),
    bridged("odd", script=answer("x")),
    bridged("no-status", script=(Head(200, (_GRPC,)), Data(_FRAME), Head(None, (("x-a", "b"),), True))),
    bridged("without-body", script=answer("3", "bad", body=b"")),
    bridged("without-trailers", script=(Head(200, (_GRPC,)), Data(_FRAME, True))),
    bridged("head-only", script=_HEAD_ONLY),
    bridged("trailers-too", script=answer("0", "fine"), hcm=_TRAILERS),
    bridged("no-grpc", get("/a", "content-type: text/plain", method="POST", body="x")),
    bridged("no-query", config={"ignore_query_parameters": True}),
    bridged("refused", upstreams=REFUSE),
    bridged("upgraded", bare(), config=_UPGRADE),
    bridged("upgraded-bad", bare(), config=_UPGRADE, script=answer("5", "none", body=b"")),
    bridged("upgraded-other-kind", bare("application/protobuf"), config=_UPGRADE),
    bridged(
        "upgraded-chunks",
        get("/a.B/C", "content-type: application/x-protobuf", "transfer-encoding: chunked", method="POST")
        + "2\r\nhi\r\n4\r\n you\r\n0\r\n\r\n",
        config=_UPGRADE,
    ),
    bridged("not-upgraded", bare()),
    bridged("h2", clients=(client(_CALL_2 + data(1, _FRAME, end=True), h2=True, timing=False),)),
]
