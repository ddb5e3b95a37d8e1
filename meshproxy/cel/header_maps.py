"""The heads and trailers of a message as maps: `request.headers['x-a']`, its values joined with ","."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from meshproxy.cel.values import MISSING, CelMap
from meshproxy.headers import Headers
from meshproxy.matching import header_getter
from meshproxy.plugin.stream_info import StreamInfo

_OF_REQUESTS = (":authority", ":method", ":path", ":scheme")


class HeaderMap(CelMap):
    """The fields of a message, pseudo-fields among them. None stands for a message that isn't there."""

    __slots__ = ("headers",)

    def __init__(self, headers: Headers | None) -> None:
        self.headers = headers

    def find(self, key: Any) -> Any:
        if type(key) is not str or self.headers is None:
            return MISSING
        value = header_getter(key)(self.headers)
        return MISSING if value is None or (value == "" and key.startswith(":")) else value

    def items(self) -> Iterable[tuple[Any, Any]]:
        if self.headers is None:
            return []
        names = dict.fromkeys([*_OF_REQUESTS, ":status", *(name.partition("\0")[0] for name in self.headers.fields)])
        return [(name, value) for name in sorted(names) if (value := self.find(name)) is not MISSING]

    @staticmethod
    def getter(name: str, attribute: str, key: str) -> Callable[[StreamInfo], Any] | None:
        """A function that reads one field; None if `name.attribute` is no map of headers."""
        message = _MESSAGES.get((name, attribute))
        if message is None:
            return None
        if key.islower() and not key.startswith(":") and key != "host" and (name, attribute) == ("request", "headers"):
            return lambda info: _plain_field(info.request, key)
        return lambda info: HeaderMap(message(info)).find(key)


def _plain_field(request: Headers | None, key: str) -> Any:
    if request is None:
        return MISSING
    value = request.fields.get(key, MISSING)
    return request.get(key) if request.repeated and value is not MISSING else value


_MESSAGES: dict[tuple[str, str], Callable[[StreamInfo], Headers | None]] = {
    ("request", "headers"): lambda info: info.request,
    ("response", "headers"): lambda info: info.response,
    ("response", "trailers"): lambda info: info.response_trailers,
}


def request_headers(info: StreamInfo) -> HeaderMap:
    return HeaderMap(info.request)


def response_headers(info: StreamInfo) -> HeaderMap:
    return HeaderMap(info.response)


def response_trailers(info: StreamInfo) -> HeaderMap:
    return HeaderMap(info.response_trailers)
