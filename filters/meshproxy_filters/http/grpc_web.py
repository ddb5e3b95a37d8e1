"""`envoy.filters.http.grpc_web`: lets browsers, which can't see trailers, call gRPC services.

A request of the kind `application/grpc-web` becomes an ordinary gRPC one; the trailers of the answer go into its body
as a last frame (gRPC, "PROTOCOL-WEB"). In the kinds with `-text` the body is base64: the request's whole, the answer's
frame by frame. An answer that is no gRPC, an error page say, becomes a gRPC status with the page as its message.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.message_facts import grpc_status_of_http
from meshproxy.plugin.replies import LocalReply

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_GRPC = "application/grpc"
_WEB = ("application/grpc-web", "application/grpc-web+proto")
_TEXT = ("application/grpc-web-text", "application/grpc-web-text+proto")
_ALL = frozenset((*_WEB, *_TEXT))
_TRAILERS_FRAME = b"\x80"
_MAX_MESSAGE = 16384
_BAD = "Bad gRPC-web request, invalid base64 data."
_INTERNAL = "13"


class GrpcWeb(HttpFilter[None]):
    """See the module; there is nothing to configure."""

    _web: bool = False
    _text_request: bool = False
    _text_response: bool = False
    _held: bytes = b""
    _frames: bytes = b""
    _page: bytearray | None = None

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> None:
        return None

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        kind = request.get("content-type")
        if kind not in _ALL:
            return
        self._web = stream.keeps_reply_status = True
        self._text_request = kind in _TEXT
        self._text_response = request.get("accept") in _TEXT
        request.remove("content-length")
        request["content-type"] = _GRPC
        request["te"] = "trailers"
        if "grpc-accept-encoding" not in request:
            request["grpc-accept-encoding"] = "identity"

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> bytes | LocalReply | None:
        if not self._text_request:
            return None
        data = self._held + data
        whole = len(data) // 4 * 4
        if end and whole != len(data):
            return _refuse(stream, "grpc_base_64_decode_failed_bad_size")
        self._held = data[whole:]
        try:
            # Each padded piece is base64 by itself, so that pieces may be sent one after the other.
            return b"".join(base64.b64decode(piece, validate=True) for piece in _padded(data[:whole]))
        except binascii.Error:
            return _refuse(stream, "grpc_base_64_decode_failed")

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        if not self._web:
            return
        kind = (response.get("content-type") or "").partition(";")[0].strip().lower()
        grpc = kind == _GRPC or kind.startswith(_GRPC + "+")
        proto = response.status == 200 and kind in _WEB
        if not stream.response_end:
            response.remove("content-length")
        response["content-type"] = _TEXT[1] if self._text_response else _WEB[1]
        if not grpc and not proto and not stream.response_end:
            self._page = bytearray()

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> bytes | None:
        if not self._web:
            return None
        if self._page is not None:
            self._page += data[: _MAX_MESSAGE - len(self._page)]
            return self._concluded(stream.response) if end else b""
        if not self._text_response:
            return None
        self._frames += data
        out = []
        while len(self._frames) >= 5:
            size = 5 + int.from_bytes(self._frames[1:5], "big")
            if len(self._frames) < size:
                break
            out.append(base64.b64encode(self._frames[:size]))
            self._frames = self._frames[size:]
        return b"".join(out)

    def _concluded(self, response: Any) -> bytes:
        """An answer that is no gRPC, as the trailers of one that has failed."""
        page, self._page = self._page, None
        status = grpc_status_of_http(response.status)
        return self._frame(f"grpc-status:{status}\r\ngrpc-message:{_percent(bytes(page or b''))}\r\n".encode("latin-1"))

    def _frame(self, trailers: bytes) -> bytes:
        frame = _TRAILERS_FRAME + len(trailers).to_bytes(4, "big") + trailers
        return base64.b64encode(frame) if self._text_response else frame

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        if not self._web:
            return
        if self._page is not None:
            stream.add_response_body(self._concluded(stream.response))
        else:
            lines = "".join([f"{name}:{value}\r\n" for name, value in trailers.items()])
            stream.add_response_body(self._frame(lines.encode("latin-1")))
        for name in list(dict.fromkeys(trailers)):
            trailers.remove(name)


def _refuse(stream: Stream, details: str) -> LocalReply:
    """The client isn't one of gRPC, so that it is told with a status of HTTP too."""
    stream.request["content-type"] = _TEXT[0]
    fields = (("content-type", _WEB[1]), ("grpc-message", _BAD), ("grpc-status", _INTERNAL))
    return LocalReply(400, headers=fields, details=details, close=True)


def _padded(data: bytes) -> list[bytes]:
    """Pieces of base64, each with its padding at its end."""
    pieces = []
    while data:
        at = data.find(b"=")
        if at < 0:
            pieces.append(data)
            break
        end = (at // 4 + 1) * 4
        pieces.append(data[:end])
        data = data[end:]
    return pieces


def _percent(data: bytes) -> str:
    """As gRPC writes `grpc-message`: printable ASCII except "%" as it is."""
    return "".join([chr(byte) if 0x20 <= byte < 0x7F and byte != 0x25 else f"%{byte:02X}" for byte in data])
