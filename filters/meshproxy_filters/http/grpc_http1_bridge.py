"""`envoy.filters.http.grpc_http1_bridge`: lets clients of HTTP/1.1, which see no trailers, call gRPC services.

The answer is held until its trailers are here, and their status and message go into the head; another status than 0
becomes a 503. A client that sends bare protobuf messages can have them framed and the answer's frame taken off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import BUFFER, BodyMode, HttpFilter
from meshproxy.records import dataclass
from meshproxy_filters.grpc_heads import FRAME_HEAD, frame, is_grpc_request

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True, slots=True)
class GrpcHttp1BridgeConfig:
    """upgrade: frame what is bare protobuf. drop_query: gRPC services know no query parameters."""

    upgrade: bool
    drop_query: bool


class GrpcHttp1Bridge(HttpFilter[GrpcHttp1BridgeConfig]):
    """See the module."""

    request_body: ClassVar[BodyMode] = BUFFER
    response_body: ClassVar[BodyMode] = BUFFER
    _bridges: bool = False
    _frames: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> GrpcHttp1BridgeConfig:
        return GrpcHttp1BridgeConfig(view.boolean("upgrade_protobuf_to_grpc"), view.boolean("ignore_query_parameters"))

    @classmethod
    def buffers_request(cls, config: GrpcHttp1BridgeConfig) -> bool:
        return config.upgrade

    def wants_request_body(self) -> bool:
        return self._frames and self._bridges

    def wants_response_body(self) -> bool:
        return self._bridges

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        if self.config.upgrade and request.get("content-type") == _PROTOBUF:
            self._frames = True
            request["content-type"] = "application/grpc"
            request.remove("content-length")
            stream.client_is_grpc = False
            stream.clear_route()
        self._bridges = stream.protocol.startswith("HTTP/1") and is_grpc_request(request)
        if self._bridges and self.config.drop_query:
            request.path = request.path.partition("?")[0]

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> bytes | None:
        return frame(data) if self._frames and self._bridges else None

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> bytes | None:
        trailers, response = stream.response_trailers, stream.response
        if not self._bridges or trailers is None or response is None:
            return None
        if self._frames:
            data = data[FRAME_HEAD:]
        status, message = trailers.get("grpc-status"), trailers.get("grpc-message")
        if status is not None:
            if not (status.isdecimal() and status.isascii() and not status.strip("0")):
                response.status = stream.response_code = 503
            response["grpc-status"] = status
        if message is not None:
            response["grpc-message"] = message
        response["content-length"] = str(len(data))
        return data
