"""`envoy.filters.http.grpc_http1_reverse_bridge`: lets clients of gRPC call hosts that know plain HTTP only.

The host gets the request under a content type of its own and must answer under it; the status of HTTP becomes that of
gRPC, in trailers. With `withhold_grpc_frames` it sees bare messages, without the heads that gRPC gives them: the
response is held until its length is known, unless a field of the host's tells it before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter, Parted
from meshproxy.plugin.message_facts import grpc_status_of_http
from meshproxy.plugin.replies import LocalReply, ResponseReplaced
from meshproxy.records import dataclass
from meshproxy_filters.grpc_heads import FRAME_HEAD, frame, frame_head, is_grpc_request

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_UNKNOWN, _INTERNAL = 2, 13


@dataclass(frozen=True, slots=True)
class ReverseBridgeConfig:
    """content_type: of the hosts. frames: they see and make frames of gRPC. size_header: their field that tells how
    long the message will be, "" for none."""

    content_type: str
    frames: bool
    size_header: str


OFF = ReverseBridgeConfig("", True, "")
_AS_EVER = ReverseBridgeConfig("", True, "")
"""A route that doesn't turn it off."""


class GrpcHttp1ReverseBridge(HttpFilter[ReverseBridgeConfig]):
    """See the module. content_type: the client's; "" for requests that are none of gRPC."""

    _content_type: str = ""
    _awaits_frame: bool = False
    _size: int = 0
    _received: int = 0
    _status: str = "0"
    _held: bytes = b""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> ReverseBridgeConfig:
        size_header = view.text("response_size_header").lower()
        frames = not view.boolean("withhold_grpc_frames")
        return ReverseBridgeConfig(view.text("content_type"), frames, "" if frames else size_header)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> ReverseBridgeConfig:
        """`FilterConfigPerRoute`."""
        return OFF if view.boolean("disabled") else _AS_EVER

    @classmethod
    def merge_route(cls, base: ReverseBridgeConfig, route: ReverseBridgeConfig) -> ReverseBridgeConfig:
        return base if route is _AS_EVER else route

    @classmethod
    def is_active(cls, config: ReverseBridgeConfig) -> bool:
        return config is not OFF

    # The request.

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        if stream.request_end or not is_grpc_request(request):
            return
        self._content_type = request.fields["content-type"]
        self._awaits_frame = not self.config.frames
        request["content-type"] = request["accept"] = self.config.content_type
        if not self.config.frames:
            _lengthen(request, -FRAME_HEAD)
        stream.client_is_grpc = True
        stream.clear_route()

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> bytes | LocalReply | None:
        if not self._awaits_frame:
            return None
        if len(data) < FRAME_HEAD:
            return _failure("invalid request body", _UNKNOWN, "grpc_bridge_data_too_small")
        self._awaits_frame = False
        return data[FRAME_HEAD:]

    # The response.

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        if not self._content_type:
            return
        said = response.get("content-type")
        if said != self.config.content_type:
            said = f"unsupported content-type {said}" if said is not None else "no content-type header"
            text = f"envoy reverse bridge: upstream responded with {said}, status code {response.status}"
            self._refuse(text, _UNKNOWN, "grpc_bridge_content_type_wrong")
        response["content-type"] = self._content_type
        if self.config.size_header:
            self._read_size(response)
        elif not self.config.frames:
            _lengthen(response, FRAME_HEAD)
        self._status = "0" if response.status == 200 else str(grpc_status_of_http(response.status))
        response.status = 200
        if stream.response_end and not self.config.frames:
            response["content-length"] = str(FRAME_HEAD)
            stream.give_response_body(self, frame(b""), Headers([("grpc-status", self._status)]))

    def _read_size(self, response: ResponseHeaders) -> None:
        size = (response.get(self.config.size_header) or "").partition(",")[0].strip()
        if not (size.isascii() and size.isdigit() and len(size) < 10):
            text = "envoy reverse bridge: upstream did not set content length"
            self._refuse(text, _INTERNAL, "grpc_bridge_content_length_missing")
        self._size = int(size)
        response["content-length"] = str(self._size + FRAME_HEAD)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> bytes | Parted | None:
        if not self._content_type:
            return None
        if self.config.size_header:
            first = not self._received
            self._received += len(data)
            data = frame_head(self._size) + data if first else data
            if end and self._received != self._size:
                return Parted(data, self._refuse_size)
        elif not self.config.frames:
            self._held += data
            data = frame(self._held) if end else b""
        return Parted(data, Headers([("grpc-status", self._status)])) if end else data

    async def _refuse_size(self) -> None:
        text = "envoy reverse bridge: upstream set incorrect content length"
        self._refuse(text, _INTERNAL, "grpc_bridge_content_length_wrong")

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        if not self._content_type:
            return
        trailers["grpc-status"] = self._status
        if not (self.config.frames or self.config.size_header):
            stream.add_response_body(frame(self._held))

    def _refuse(self, text: str, status: int, details: str) -> NoReturn:
        self._content_type = ""  # the reply isn't the host's
        raise ResponseReplaced(_failure(text, status, details))


def _failure(text: str, status: int, details: str) -> LocalReply:
    return LocalReply(200, text.encode(), grpc_status=status, details=details)


def _lengthen(head: RequestHeaders | ResponseHeaders, by: int) -> None:
    length = head.get("content-length")
    if length is not None and int(length):
        head["content-length"] = str(max(int(length) + by, 0))
