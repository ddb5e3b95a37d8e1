"""gRPC-Web: browsers' requests in binary and base64, and trailers as the last frame of a body."""

from __future__ import annotations

import base64
import json
from typing import Any

from ..case import REFUSE, Case, Upstream, answer, client
from ..h2_peer import Data, Head

_FILTER = [
    {"name": "web", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"}}
]
_H2 = """
typed_extension_protocol_options:
  http: {"@type": HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}
"""
FRAME = b"\0\0\0\0\5hello"
TEXT = base64.b64encode(FRAME).decode()
GRPC = ("content-type", "application/grpc")
ANSWER = (Head(200, (GRPC,)), Data(FRAME), Head(None, (("grpc-status", "0"), ("grpc-message", "fine")), True))


def post(kind: str, body: str, *lines: str) -> bytes:
    head = ["POST /pkg.Service/Method HTTP/1.1", "host: h.test", f"content-type: {kind}", *lines]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", body]).encode("latin-1")


def web(name: str, request: bytes, *script: Any, **more: Any) -> Case:
    more.setdefault("upstreams", {"up": Upstream((script or ANSWER,), mode="h2")})
    more.setdefault("cluster", _H2)
    return Case(f"grpc-web-{name}", clients=(client(request, timing=False),), filters=json.dumps(_FILTER), **more)


BINARY = FRAME.decode("latin-1")
_WEB, _TEXT = "application/grpc-web", "application/grpc-web-text"
ACCEPT = "accept: application/grpc-web-text"

CASES = [
    web("binary", post(_WEB, BINARY)),
    web("binary-proto", post(f"{_WEB}+proto", BINARY)),
    web("text", post(_TEXT, TEXT, ACCEPT)),
    web("text-proto", post(f"{_TEXT}+proto", TEXT, f"{ACCEPT}+proto")),
    web("text-asked-binary-answered", post(_TEXT, TEXT)),
    web("several-padded-pieces", post(_TEXT, base64.b64encode(b"\0\0\0\0\1a").decode() + TEXT)),
    web("not-web", post("application/json", "{}")),
    web("plain-grpc", post("application/grpc", BINARY)),
    web("compression-accepted", post(_WEB, BINARY, "grpc-accept-encoding: gzip")),
    web("trailers-only", post(_WEB, BINARY), Head(200, (GRPC, ("grpc-status", "5"), ("grpc-message", "none")), True)),
    web("several-messages", post(_TEXT, TEXT, ACCEPT), Head(200, (GRPC,)), Data(FRAME + FRAME), Data(FRAME[:4]), Data(FRAME[4:]), Head(None, (("grpc-status", "0"),), True)),
    web("no-body", post(_WEB, BINARY), Head(503, (), True)),
    web("nobody-there", post(_WEB, BINARY), upstreams=REFUSE, cluster="", shows="503 Service Unavailable"),
    web("no-route", post(_TEXT, TEXT, ACCEPT), routes="[{match: {path: /other}, route: {cluster: $up}}]"),
    web("answered-here", post(_WEB, BINARY), routes="[{match: {prefix: /}, direct_response: {status: 403, body: {inline_string: nope}}}]"),
    web("http1-upstream", post(_WEB, BINARY), upstreams=answer("HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\ncontent-length: 10\r\n\r\n" + BINARY), cluster=""),
]  # fmt: skip
