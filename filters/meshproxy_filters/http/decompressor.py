"""`envoy.filters.http.decompressor`: takes one encoding off requests and responses.

What is no such encoding, ends before its end, or comes to more than the ratio allows is not passed on: a request is
answered with 400, a response is cut. Envoy passes on what it has and drops the rest in silence, so that half a document
looks like a whole one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass
from meshproxy.runtime_values import ON
from meshproxy_filters.compression import BadData, Decompressor
from meshproxy_filters.compression_libraries import DecompressorLibrary, compile_decompressor

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_BAD = LocalReply(400, b"Bad Request", details="decompression_failed")


class Direction:
    """One direction. enabled; heed: `cache-control: no-transform` is obeyed."""

    def __init__(self, view: ConfigView | None, scope: StatsScope, context: FactoryContext) -> None:
        common = view.view("common_config") if view is not None else None
        enabled = common.view("enabled") if common is not None else None
        self.enabled = ON if enabled is None else context.compile_runtime_flag(enabled)
        self.heed = common is None or not common.boolean("ignore_no_transform_header")
        self.decompressed = scope.counter("decompressed")
        self.not_decompressed = scope.counter("not_decompressed")
        self.uncompressed_bytes = scope.counter("total_uncompressed_bytes")
        self.compressed_bytes = scope.counter("total_compressed_bytes")
        self.failed = scope.counter("failed")

    def begin(self, message: Headers, library: DecompressorLibrary) -> Decompressor | None:
        """The decompressor for a message with a body, None for one that stays as it is; its head is put right."""
        encodings = message.get("content-encoding") or ""
        first, _, rest = encodings.partition(",")
        if (
            not self.enabled.value
            or first.strip().lower() != library.encoding
            or (self.heed and _no_transform(message.get("cache-control")))
        ):
            self.not_decompressed.value += 1
            return None
        self.decompressed.value += 1
        message.remove("content-length")
        if rest.strip():
            message["content-encoding"] = rest.strip()
        else:
            message.remove("content-encoding")
        return library.make()

    def decompress(self, decompressor: Decompressor, data: bytes, end: bool) -> bytes:
        """Raises BadData, counted."""
        try:
            out = decompressor.decompress(data) if data else b""
            if end and decompressor.unfinished:
                raise BadData("it ends before its end")
        except BadData:
            self.failed.value += 1
            raise
        self.compressed_bytes.value += len(data)
        self.uncompressed_bytes.value += len(out)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class DecompressorConfig:
    """advertise: tell upstreams that the encoding is understood."""

    library: DecompressorLibrary
    request: Direction
    response: Direction
    advertise: bool


class Decompressing(HttpFilter[DecompressorConfig]):
    """See the module."""

    _request: Decompressor | None = None
    _response: Decompressor | None = None

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> DecompressorConfig:
        library = compile_decompressor(view.required("decompressor_library"))
        scope = context.stats.scope(f"decompressor.{library.name}.")
        request = view.view("request_direction_config")
        response = Direction(view.view("response_direction_config"), scope.scope("response."), context)
        advertised = request is None or request.boolean("advertise_accept_encoding", True)
        return DecompressorConfig(
            library=library,
            request=Direction(request, scope.scope("request."), context),
            response=response,
            advertise=advertised,
        )

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        config = self.config
        if config.advertise and config.response.enabled.value:
            _advertise(request, config.library.encoding)
        if not stream.request_end:
            self._request = config.request.begin(request, config.library)

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> bytes | LocalReply | None:
        if self._request is None:
            return None
        try:
            return self.config.request.decompress(self._request, data, end)
        except BadData:
            return _BAD

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> LocalReply | None:
        if self._request is None:
            return None
        try:
            self.config.request.decompress(self._request, b"", True)
        except BadData:
            return _BAD
        return None

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        if not stream.response_end:
            self._response = self.config.response.begin(response, self.config.library)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> bytes | None:
        if self._response is None:
            return None
        try:
            return self.config.response.decompress(self._response, data, end)
        except BadData:
            stream.reset("decompression_failed")
            return b""

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        if self._response is None:
            return
        try:
            self.config.response.decompress(self._response, b"", True)
        except BadData:
            stream.reset("decompression_failed")


def _no_transform(value: str | None) -> bool:
    return value is not None and "no-transform" in [token.strip().lower() for token in value.split(",")]


def _advertise(request: RequestHeaders, encoding: str) -> None:
    tokens = [token.strip() for token in (request.get("accept-encoding") or "").split(",")]
    others = [token for token in tokens if token and token.partition(";")[0].strip().lower() != encoding]
    request["accept-encoding"] = ",".join([*others, encoding])
