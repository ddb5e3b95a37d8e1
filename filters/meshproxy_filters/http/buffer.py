"""`envoy.filters.http.buffer`: holds a request back until its body is whole, and refuses one that is too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import BUFFER, BodyMode, HttpFilter
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


@dataclass(frozen=True, slots=True)
class BufferConfig:
    """max_request_bytes: beyond it the answer is 413; 0 stands for a route where the filter is off."""

    max_request_bytes: int


class Buffer(HttpFilter[BufferConfig]):
    """The chain does the buffering; what is left is to say how long the body has turned out to be."""

    request_body: ClassVar[BodyMode] = BUFFER

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> BufferConfig:
        return _read(view)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> BufferConfig:
        """`BufferPerRoute`."""
        if view.which("override") == "disabled":
            if not view.boolean("disabled"):
                view.fail("it must be true where it is set", "disabled")
            return BufferConfig(0)
        return _read(view.required("buffer"))

    @classmethod
    def is_active(cls, config: BufferConfig) -> bool:
        return config.max_request_bytes > 0

    @property
    def body_limit(self) -> int:
        return self.config.max_request_bytes

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> None:
        fields = stream.request.fields
        if "content-length" not in fields:
            fields["content-length"] = str(len(data))


def _read(view: ConfigView) -> BufferConfig:
    limit = view.integer("max_request_bytes")
    if limit <= 0:
        view.fail("it is required and must be greater than 0", "max_request_bytes")
    return BufferConfig(limit)
