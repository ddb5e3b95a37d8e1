"""What stands in an HTTP chain for a filter whose configuration hasn't come (Envoy's MissingConfigFilter)."""

from __future__ import annotations

from typing import Any

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import Stream
from meshproxy.plugin.http import HttpFilter, TerminalHttpFilter
from meshproxy.plugin.replies import LocalReply

_FLAG = "NFCF"
_STATUS = 500


class MissingFilter(HttpFilter[Any]):
    """Refuses every request."""

    stateless = True

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply:
        stream.add_flag(_FLAG)
        return LocalReply(_STATUS)


class MissingTerminal(TerminalHttpFilter[Any]):
    """The same at the end of a chain."""

    stateless = True

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        stream.add_flag(_FLAG)
        stream.reply(LocalReply(_STATUS))
