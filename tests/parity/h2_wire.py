"""HTTP/2 on the client's side of a case: frames to send as bytes, and how what came back is shown.

What is sent has no state: fields are literals that no table remembers. So a case says exactly which bytes go out, also
wrong ones. What comes back is shown by stream, since the order between streams is chance's; what concerns the whole
connection stands first. WINDOW_UPDATEs of streams aren't shown: when they come is each program's own affair.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import hpack

from .transcript import show_body

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
_NAMES = {1: "table", 2: "push", 3: "streams", 4: "window", 5: "frame", 6: "list", 8: "connect"}
_FRAME = 16384


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """Any frame."""
    return struct.pack(">L", len(payload))[1:] + struct.pack(">BBL", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """SETTINGS by the names in `_NAMES`."""
    numbers = {name: number for number, name in _NAMES.items()}
    return frame(SETTINGS, b"".join(struct.pack(">HL", numbers[name], value) for name, value in values.items()))


def hello(**values: int) -> bytes:
    """What a client begins with."""
    return PREFACE + settings(**values)


def _number(value: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    out = [most]
    value -= most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def block(*fields: tuple[str, str]) -> bytes:
    """Fields as literals without indexing."""
    out = b""
    for name, value in fields:
        out += b"\0"
        for raw in (name.encode("latin-1"), value.encode("latin-1")):
            out += _number(len(raw), 7) + raw
    return out


def lines(*texts: str) -> tuple[tuple[str, str], ...]:
    """`name: value` as fields."""
    return tuple((name, value) for name, _, value in (text.partition(": ") for text in texts))


def head(stream: int, *fields: tuple[str, str], end: bool = True) -> bytes:
    """HEADERS with exactly these fields, in CONTINUATIONs if they are long."""
    whole = block(*fields)
    pieces = [whole[i : i + _FRAME] for i in range(0, len(whole), _FRAME)] or [b""]
    out = b""
    for number, piece in enumerate(pieces):
        flags = END_HEADERS if number == len(pieces) - 1 else 0
        flags |= END_STREAM if end and not number else 0
        out += frame(CONTINUATION if number else HEADERS, piece, flags, stream)
    return out


def h2get(
    stream: int = 1,
    path: str = "/",
    *more: str,
    method: str = "GET",
    host: str = "h.test",
    body: bytes = b"",
    end: bool = True,
) -> bytes:
    """A request; `end` false leaves it open."""
    pseudo = ((":method", method), (":path", path), (":scheme", "http"), (":authority", host))
    out = head(stream, *pseudo, *lines(*more), end=end and not body)
    return out + (data(stream, body, end=end) if body else b"")


def data(stream: int, body: bytes = b"", *, end: bool = False) -> bytes:
    """DATA, in frames of the default size."""
    pieces = [body[i : i + _FRAME] for i in range(0, len(body), _FRAME)] or [b""]
    return b"".join(
        frame(DATA, piece, END_STREAM if end and number == len(pieces) - 1 else 0, stream)
        for number, piece in enumerate(pieces)
    )


def reset(stream: int, code: int = 8) -> bytes:
    """RST_STREAM; CANCEL unless told otherwise."""
    return frame(RST_STREAM, struct.pack(">L", code), stream=stream)


def window(stream: int, more: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, struct.pack(">L", more), stream=stream)


def goaway(last: int = 0, code: int = 0) -> bytes:
    return frame(GOAWAY, struct.pack(">LL", last, code))


@dataclass(slots=True)
class _Stream:
    heads: list[list[str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    end: str = "[incomplete]"

    def shown(self) -> list[str]:
        out = []
        for number, fields in enumerate(self.heads):
            out += [("  " if not number or fields[0].startswith(":") else "  trailer ") + line for line in fields]
            if fields[0].startswith(":status: 1"):
                continue
            if self.body and not number:
                out.append(f"  {show_body(bytes(self.body))}")
        if self.body and not self.heads:
            out.append(f"  {show_body(bytes(self.body))}")
        return out + ([f"  {self.end}"] if self.end else [])


def show_frames(received: bytes) -> list[str]:
    """What a server sent, for a transcript."""
    reader = _Reader()
    rest = received
    while len(rest) >= 9:
        length = int.from_bytes(rest[:3], "big")
        if len(rest) < 9 + length:
            break
        reader.take(rest[3], rest[4], int.from_bytes(rest[5:9], "big"), rest[9 : 9 + length])
        rest = rest[9 + length :]
    out = [*reader.opening, *reader.connection]
    for number, stream in sorted(reader.streams.items()):
        out += [f"stream {number}", *stream.shown()]
    if rest:
        out.append(f"[rest] {show_body(rest)}")
    return out


class _Reader:
    def __init__(self) -> None:
        self.opening: list[str] = []  # whether the first WINDOW_UPDATE or an acknowledgement leaves first is chance
        self.connection: list[str] = []
        self.streams: dict[int, _Stream] = {}
        self._decoder = hpack.Decoder()
        self._decoder.max_allowed_table_size = 1 << 16
        self._decoder.max_header_list_size = 1 << 24
        self._block = b""
        self._ends = False
        self._kinds: dict[int, Callable[[int, int, bytes], None]] = {
            DATA: self._data,
            HEADERS: self._head,
            CONTINUATION: self._head,
            RST_STREAM: self._reset,
            SETTINGS: self._settings,
            PING: lambda flags, _, payload: self.connection.append("ping ack" if flags & ACK else "ping"),
            GOAWAY: self._goaway,
            WINDOW_UPDATE: self._window,
        }

    def take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        handler = self._kinds.get(kind)
        if handler is None:
            self.connection.append(f"frame {kind}")
        else:
            handler(flags, stream, payload)

    def _of(self, stream: int) -> _Stream:
        return self.streams.setdefault(stream, _Stream())

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        self._of(stream).body += payload
        if flags & END_STREAM:
            self._of(stream).end = ""

    def _head(self, flags: int, stream: int, payload: bytes) -> None:
        if not self._block:
            self._ends = bool(flags & END_STREAM)
        self._block += payload
        if flags & END_HEADERS:
            whole, self._block = self._block, b""
            fields = self._decoder.decode(whole, raw=True)
            self._of(stream).heads.append([f"{n.decode('latin-1')}: {v.decode('latin-1')}" for n, v in fields])
            if self._ends:
                self._of(stream).end = ""

    def _reset(self, flags: int, stream: int, payload: bytes) -> None:
        before = self._of(stream).end or "[complete]"
        self._of(stream).end = f"{before} [reset {int.from_bytes(payload, 'big')}]"

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        if flags & ACK:
            self.connection.append("settings ack")
            return
        pairs = [struct.unpack_from(">HL", payload, i) for i in range(0, len(payload), 6)]
        self.connection.append("settings " + " ".join(f"{_NAMES.get(name, name)}={value}" for name, value in pairs))

    def _goaway(self, flags: int, stream: int, payload: bytes) -> None:
        last, code = struct.unpack(">LL", payload[:8])

        self.connection.append(f"goaway last={last} code={code}")

    def _window(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream and not self.opening:
            self.opening.append(f"window +{int.from_bytes(payload, 'big')}")
