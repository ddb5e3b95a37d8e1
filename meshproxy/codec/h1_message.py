"""What requests and responses have in common: where a head is read on the fast road, and where on the slow one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from meshproxy.codec.h1_guard import LineScanner
from meshproxy.errors import ProtocolError


class MessageParser(ABC):
    """The head of a message. Each step takes what has arrived and returns what is left of it to be parsed."""

    __slots__ = ("_max_bytes", "_scanner")

    _max_bytes: int
    _scanner: LineScanner | None

    def _read_head(self, data: bytes) -> bytes:
        if self._scanner is None:
            end = data.find(b"\r\n\r\n") + 4
            if 4 <= end <= self._max_bytes:
                rest = self._recognise(data, end)
                if rest is not None:
                    return rest
        try:
            return self._read_odd_head(data)
        except ProtocolError as error:
            return self._fail(error)

    @abstractmethod
    def _recognise(self, data: bytes, end: int) -> bytes | None:
        """The fast road: parse and announce a plain head of `end` bytes.

        Returns what follows the head; None, without any effect, when it isn't plain.
        """

    @abstractmethod
    def _read_odd_head(self, data: bytes) -> bytes:
        """The slow road: line by line, from where the last attempt stopped. Raises ProtocolError."""

    @abstractmethod
    def _fail(self, error: ProtocolError) -> bytes:
        """The end of this parser; nothing is left."""
