"""`envoy.filters.http.cdn_loop`: breaks loops between content delivery networks (RFC 8586)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_INVALID = LocalReply(400, b"Invalid CDN-Loop header in request.", details="invalid_cdn_loop_header")
_LOOP = LocalReply(502, b"The server has detected a loop between CDNs.", details="cdn_loop_detected")

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_CDN_ID = rf"(?:\[[0-9A-Fa-f:.]*\]|{_TOKEN})(?::[0-9]*)?"
_ELEMENT = re.compile(rf"({_CDN_ID})[ \t]*(?:;[ \t]*{_TOKEN}=(?:{_QUOTED}|{_TOKEN})[ \t]*)*")
_WHOLE_ID = re.compile(rf"{_CDN_ID}\Z")


@dataclass(frozen=True, slots=True)
class CdnLoopConfig:
    """allowed: how often our own `cdn_id` may have been here before."""

    cdn_id: str
    allowed: int


class CdnLoop(HttpFilter[CdnLoopConfig]):
    """Refuses what has been here too often, and leaves its own mark."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> CdnLoopConfig:
        cdn_id = view.text("cdn_id")
        if _WHOLE_ID.match(cdn_id) is None:
            view.fail(f'Provided cdn_id "{cdn_id}" is not a valid CDN identifier', "cdn_id")
        return CdnLoopConfig(cdn_id, view.integer("max_allowed_occurrences"))

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        config = self.config
        values = request.get_all("cdn-loop")
        if not values:
            request["cdn-loop"] = config.cdn_id
            return None
        value = ",".join(values)
        ids = cdn_ids(value)
        if ids is None:
            return _INVALID
        if ids.count(config.cdn_id) > config.allowed:
            return _LOOP
        request["cdn-loop"] = f"{value},{config.cdn_id}" if value else config.cdn_id
        return None


def cdn_ids(value: str) -> list[str] | None:
    """The identifiers in a CDN-Loop field; None if it isn't well formed."""
    found: list[str] = []
    at = 0
    while True:
        while at < len(value) and value[at] in " \t,":
            at += 1
        if at == len(value):
            return found
        element = _ELEMENT.match(value, at)
        if element is None:
            return None
        found.append(element[1])
        at = element.end()
        if at < len(value) and value[at] != ",":
            return None
