"""What a client of `tcp_proxy` sends before there is an upstream, where the configuration has it read by then."""

from __future__ import annotations

from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class EarlyReading:
    """limit: of the bytes that are kept; then the client isn't read any more. starts: a connect waits for the first."""

    limit: int
    starts: bool


class EarlyData:
    """The bytes of one connection. awaited: nobody connects before there is one. ended: the client sends no more."""

    def __init__(self, reading: EarlyReading) -> None:
        self._left = reading.limit
        self._pieces: list[bytes] = []
        self.awaited = reading.starts
        self.ended = False

    def keep(self, data: bytes, end: bool) -> bool:
        """Returns whether it is full."""
        self._pieces.append(data)
        self._left -= len(data)
        self.ended = end
        return self._left <= 0

    @property
    def data(self) -> bytes:
        return b"".join(self._pieces)
