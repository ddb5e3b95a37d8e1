"""Frames as bytes, and what a raw client reads out of a stream of them. Knows nothing of the codec under test."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIO = 1, 1, 4, 8, 32
CODES = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)
MARK = b"the-mark"

Fields = list[tuple[str, str]]


def frame(kind: int, flags: int, sid: int, payload: bytes = b"", length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes((kind, flags)) + struct.pack(">I", sid) + payload


def block(fields: Fields) -> bytes:
    """An HPACK block of literals that aren't indexed: it leaves no trace in the decoder."""

    def string(text: str) -> bytes:
        raw = text.encode("latin-1")
        head = bytearray()
        size = len(raw)
        if size < 127:
            head.append(size)
        else:
            head.append(127)
            size -= 127
            while size > 127:
                head.append(size & 127 | 128)
                size >>= 7
            head.append(size)
        return bytes(head) + raw

    return b"".join(b"\0" + string(name) + string(value) for name, value in fields)


def request(method: str = "GET", path: str = "/", extra: Fields | None = None) -> Fields:
    return [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a.example"),
        *(extra or []),
    ]


def headers(sid: int, fields: Fields | bytes, flags: int = END_STREAM | END_HEADERS) -> bytes:
    payload = fields if isinstance(fields, bytes) else block(fields)
    return frame(HEADERS, flags, sid, payload)


def get(sid: int = 1, extra: Fields | None = None) -> bytes:
    return headers(sid, request(extra=extra))


def post(sid: int = 1, extra: Fields | None = None) -> bytes:
    """The head of a request whose body follows."""
    return headers(sid, request("POST", extra=extra), END_HEADERS)


def data(sid: int, payload: bytes = b"", flags: int = END_STREAM) -> bytes:
    return frame(DATA, flags, sid, payload)


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def ping(payload: bytes = MARK, flags: int = 0) -> bytes:
    return frame(PING, flags, 0, payload)


def rst(sid: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, sid, struct.pack(">I", code))


def window_update(sid: int, count: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, sid, struct.pack(">I", count))


def priority(sid: int, depends: int = 0) -> bytes:
    return frame(PRIORITY, 0, sid, struct.pack(">IB", depends, 15))


@dataclass
class Seen:
    """What the server has said. Streams by number."""

    settings: dict[int, int] | None = None
    settings_acks: int = 0
    pongs: list[bytes] = field(default_factory=list)
    goaways: list[tuple[int, str]] = field(default_factory=list)
    resets: dict[int, str] = field(default_factory=dict)
    statuses: dict[int, list[str]] = field(default_factory=dict)
    bodies: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    windows: dict[int, int] = field(default_factory=dict)
    frames: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        self._buffer = b""
        self._block = b""
        self._decoder = hpack.Decoder()
        self.on_frame: Callable[[int, int], None] = lambda kind, sid: None

    def feed(self, received: bytes) -> None:
        self._buffer += received
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < 9 + length:
                return
            kind, flags = self._buffer[3:5]
            sid = int.from_bytes(self._buffer[5:9], "big")
            self._frame(kind, flags, sid, self._buffer[9 : 9 + length])
            self._buffer = self._buffer[9 + length :]

    def _frame(self, kind: int, flags: int, sid: int, payload: bytes) -> None:
        self.frames += 1
        word = int.from_bytes(payload[:4], "big")
        if kind == SETTINGS:
            if flags & ACK:
                self.settings_acks += 1
            else:
                self.settings = dict(struct.iter_unpack(">HI", payload))
        elif kind == PING and flags & ACK:
            self.pongs.append(payload)
        elif kind == GOAWAY:
            code = int.from_bytes(payload[4:8], "big")
            self.goaways.append((word, CODES[code] if code < len(CODES) else str(code)))
        elif kind == RST_STREAM:
            self.resets[sid] = CODES[word] if word < len(CODES) else str(word)
        elif kind == WINDOW_UPDATE:
            self.windows[sid] = self.windows.get(sid, 0) + word
        elif kind == DATA:
            self.bodies[sid] = self.bodies.get(sid, 0) + len(payload)
        elif kind in (HEADERS, CONTINUATION):
            self._block += payload
            if flags & END_HEADERS:
                fields = self._decoder.decode(self._block, raw=True)
                self._block = b""
                status = [value.decode() for name, value in fields if name == b":status"]
                self.statuses.setdefault(sid, []).extend(status)
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.ended.add(sid)
        self.on_frame(kind, sid)

    def text(self) -> str:
        return (
            f"goaways {self.goaways} resets {self.resets} statuses {self.statuses} bodies {self.bodies} "
            f"ended {sorted(self.ended)} pongs {len(self.pongs)} acks {self.settings_acks} closed {self.closed}"
        )
