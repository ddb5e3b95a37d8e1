"""As much of HTTP/2 (RFC 9113) as a peer needs that sends what it knows beforehand: for loads of streams.

Windows are opened to their greatest once and never renewed, blocks of fields are written plainly and skipped unread.
A load of gigabytes is therefore none for this peer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
_HEAD = 9
_LARGEST = (1 << 31) - 1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def block(fields: Sequence[tuple[str, str]]) -> bytes:
    """Literal fields without indexing (RFC 7541, section 6.2.2); names and values shorter than 127 bytes."""
    return b"".join(b"\0" + b"".join(bytes((len(text),)) + text.encode() for text in field) for field in fields)


class Http2Peer(asyncio.Protocol):
    """Says hello and acknowledges; what comes on streams goes to `on_fields`, `on_body` and `on_reset`."""

    greeting = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._rest = b""
        self._unread = len(PREFACE) - len(self.greeting)
        window = (4).to_bytes(2) + _LARGEST.to_bytes(4)
        opened = frame(WINDOW_UPDATE, 0, 0, (_LARGEST - 65535).to_bytes(4))
        transport.write(self.greeting + frame(SETTINGS, 0, 0, window) + opened)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at, self._unread = self._unread, 0
        if len(data) < at:
            self._rest, self._unread = data, at
            return
        while len(data) - at >= _HEAD:
            end = at + _HEAD + int.from_bytes(data[at : at + 3])
            if len(data) < end:
                break
            kind, flags, stream = data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9])
            self._frame(kind, flags, stream, data[at + _HEAD : end])
            at = end
        self._rest = data[at:]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self.on_body(stream, payload, bool(flags & END_STREAM))
        elif kind == HEADERS:
            self.on_fields(stream, bool(flags & END_STREAM))
        elif kind == RST_STREAM:
            self.on_reset(stream)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self.transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))

    def on_fields(self, stream: int, end: bool) -> None:
        raise NotImplementedError  # each kind of peer gives its own

    def on_body(self, stream: int, data: bytes, end: bool) -> None:
        raise NotImplementedError  # each kind of peer gives its own

    def on_reset(self, stream: int) -> None:
        """For clients an error; servers forget the stream."""


class Http2Client(Http2Peer):
    greeting = PREFACE
