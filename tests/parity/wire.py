"""A strict incremental reader of HTTP/1 messages, on the side of the tests.

It judges what a proxy *emitted*, so it shares no code with the proxy and forgives nothing: whatever departs from
RFC 9112's grammar becomes a line in `anomalies`, and reading goes on only as far as the framing is certain.
Header lines are kept as they were on the wire, in order and case.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(_TOKEN + rb" [\x21-\x7e\x80-\xff]+ HTTP/1\.1")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*")
_HEADER_LINE = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})")

Kind = Literal["request", "response"]


@dataclass(slots=True)
class Message:
    """One message: its start line, raw header lines, decoded body, and how the body was framed.

    notes: what else happened to it, such as a reset.
    """

    start: str
    headers: list[str]
    framing: str = "none"
    body: bytearray = field(default_factory=bytearray)
    trailers: list[str] = field(default_factory=list)
    complete: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def method(self) -> str:
        return self.start.split(" ", 1)[0]

    @property
    def status(self) -> int:
        return int(self.start.split(" ", 2)[1])

    def values(self, name: str) -> list[str]:
        """The values of header `name` (lower case), stripped."""
        pairs = (line.partition(":") for line in self.headers)
        return [value.strip(" \t") for key, _, value in pairs if key.lower() == name]


class WireReader:
    """Feed it bytes; `messages` grows. `method_of(n)` tells a response reader the method of the n-th final request."""

    def __init__(self, kind: Kind, method_of: Callable[[int], str] = lambda _: "GET") -> None:
        self.kind = kind
        self.messages: list[Message] = []
        self.anomalies: list[str] = []
        self.raw = bytearray()  # what follows a switch of protocols, or what could not be read
        self._method_of = method_of
        self._buffer = bytearray()
        self._state: Callable[[], bool] = self._head
        self._remaining = 0
        self._finals = 0

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while self._state():
            pass

    def finish(self) -> None:
        """The peer has sent its last byte."""
        if self._state == self._until_close:
            self.messages[-1].complete = True
        elif self._buffer and self._state != self._everything:
            self.anomalies.append(f"ends inside a message: {bytes(self._buffer[:60])!r}")

    def switch_to_raw(self) -> None:
        """From here on bytes are opaque."""
        self._state = self._everything
        self._everything()

    def _odd(self, what: str, data: bytes) -> None:
        self.anomalies.append(f"{what}: {data[:80]!r}")

    def _stop(self, what: str, data: bytes) -> bool:
        self._odd(what, data)
        self._state = self._everything
        return True

    def _everything(self) -> bool:
        self.raw += self._buffer
        self._buffer.clear()
        return False

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        start_rule = _REQUEST_LINE if self.kind == "request" else _STATUS_LINE
        if not start_rule.fullmatch(lines[0]):
            return self._stop("start line", lines[0])
        for line in lines[1:]:
            if not _HEADER_LINE.fullmatch(line):
                self._odd("header line", line)
        message = Message(lines[0].decode("latin-1"), [line.decode("latin-1") for line in lines[1:]])
        self.messages.append(message)
        self._choose_framing(message)
        return True

    def _choose_framing(self, message: Message) -> None:
        lengths, codings = message.values("content-length"), message.values("transfer-encoding")
        if lengths and codings:
            self._odd("both content-length and transfer-encoding", message.start.encode("latin-1"))
        if len(lengths) > 1 or (lengths and not re.fullmatch(r"[0-9]{1,19}", lengths[0])):
            self._odd("content-length", repr(lengths).encode())
        if self.kind == "request" and len(message.values("host")) != 1:
            self._odd("number of host lines", repr(message.values("host")).encode())
        if self.kind == "response" and self._response_without_body(message):
            return
        if codings:
            if codings != ["chunked"]:
                self._odd("transfer-encoding", repr(codings).encode())
            message.framing, self._state = "chunked", self._chunk_size
        elif lengths and re.fullmatch(r"[0-9]{1,19}", lengths[0]):
            message.framing, self._remaining, self._state = f"length {lengths[0]}", int(lengths[0]), self._sized
        elif self.kind == "response":
            message.framing, self._state = "until close", self._until_close
        else:
            self._finish_message()

    def _response_without_body(self, message: Message) -> bool:
        status, method = message.status, self._method_of(self._finals)
        switched = status == 101 or (method == "CONNECT" and 200 <= status < 300)
        if status < 200 and not switched:
            self._finish_message()
            return True
        self._finals += 1
        if switched:
            message.complete = True
            self._state = self._everything
        elif method == "HEAD" or status in (204, 304):
            self._finish_message()
        else:
            return False
        return True

    def _finish_message(self) -> None:
        self.messages[-1].complete = True
        self._state = self._head

    def _sized(self) -> bool:
        piece = self._buffer[: self._remaining]
        self.messages[-1].body += piece
        del self._buffer[: len(piece)]
        self._remaining -= len(piece)
        if self._remaining:
            return False
        self._finish_message()
        return True

    def _chunk_size(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        if not _CHUNK_LINE.fullmatch(line):
            return self._stop("chunk line", line)
        self._remaining = int(line, 16)
        self._state = self._chunk_data if self._remaining else self._trailer
        return True

    def _chunk_data(self) -> bool:
        if len(self._buffer) < self._remaining + 2:
            # What has arrived of a chunk counts as body, so that a truncated message shows it.
            piece = self._buffer[: self._remaining]
            self.messages[-1].body += piece
            del self._buffer[: len(piece)]
            self._remaining -= len(piece)
            return False
        self.messages[-1].body += self._buffer[: self._remaining]
        end = bytes(self._buffer[self._remaining : self._remaining + 2])
        del self._buffer[: self._remaining + 2]
        if end != b"\r\n":
            return self._stop("end of chunk", end)
        self._state = self._chunk_size
        return True

    def _trailer(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        if not line:
            self._finish_message()
            return True
        if not _HEADER_LINE.fullmatch(line):
            self._odd("trailer line", line)
        self.messages[-1].trailers.append(line.decode("latin-1"))
        return True

    def _until_close(self) -> bool:
        self.messages[-1].body += self._buffer
        self._buffer.clear()
        return False


@dataclass(slots=True)
class H2Wire:
    """What one connection brought, shown like an HTTP/1 one."""

    messages: list[Message] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    anomalies: list[str] = field(default_factory=list)
