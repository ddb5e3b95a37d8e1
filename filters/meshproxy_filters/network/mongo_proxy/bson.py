"""BSON as far as a look at MongoDB's messages needs it: a document's fields, in order, as plain values.

Everything in a document is read, so that what isn't BSON is noticed; of values only those are kept that somebody looks
at: numbers, texts, documents. https://bsonspec.org/spec.html; the element types are those that Envoy knows.
"""

from __future__ import annotations

import struct
from typing import Any

_DEEPEST = 100


class WireError(Exception):
    """The bytes are no message of MongoDB's, or none that is known here."""


class Other:
    """A value that nobody looks at."""


OTHER = Other()


class Document(dict[str, Any]):
    """Fields by name. size: bytes on the wire. An array is a document too, with `array` set."""

    size = 0
    array = False


class Reader:
    """Reads little-endian values from a message, front to back. Raises WireError at its end."""

    __slots__ = ("_data", "at")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self.at

    def take(self, size: int) -> bytes:
        if size < 0 or size > self.left:
            raise WireError("a message ends too early")
        self.at += size
        return self._data[self.at - size : self.at]

    def int32(self) -> int:
        return int.from_bytes(self.take(4), "little", signed=True)

    def int64(self) -> int:
        return int.from_bytes(self.take(8), "little", signed=True)

    def name(self) -> str:
        """A text that ends with a zero byte."""
        end = self._data.find(b"\0", self.at)
        if end < 0:
            raise WireError("a name has no end")
        return self.take(end - self.at + 1)[:-1].decode("latin-1")

    def text(self) -> str:
        size = self.int32()
        if size < 1:
            raise WireError("a text has no room for its end")
        return self.take(size)[:-1].decode("latin-1")

    def document(self, depth: int = 0) -> Document:
        if depth > _DEEPEST:
            raise WireError("documents nest too deeply")
        start = self.at
        size = self.int32()
        found = Document()
        found.size = size
        while kind := self.take(1)[0]:
            name = self.name()
            found.setdefault(name, self._value(kind, depth))
        if self.at - start != size:
            raise WireError("a document isn't as long as it says")
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind == 0x10:
            return self.int32()
        if kind == 0x12:
            return self.int64()
        if kind in (0x02, 0x0E):
            return self.text()
        if kind in (0x03, 0x04):
            found = self.document(depth + 1)
            found.array = kind == 0x04
            return found
        if kind == 0x01:
            return struct.unpack("<d", self.take(8))[0]
        if kind == 0x05:
            self.take(self.int32() + 1)
        elif kind == 0x0B:
            self.name()
            self.name()
        elif kind in _SIZES:
            self.take(_SIZES[kind])
        else:
            raise WireError(f"an element of the unknown type {kind:#x}")
        return OTHER


_SIZES = {0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x11: 8}
"""Of types whose values have one size: ObjectId, boolean, date, null, timestamp."""
