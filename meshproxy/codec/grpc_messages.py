"""gRPC's framing of messages in a body: five bytes before each, a flag and the length (gRPC over HTTP/2, "Message").

Nothing is compressed: we don't ask for it, so whoever does it all the same breaks the protocol.
"""

from __future__ import annotations

from meshproxy.errors import ProtocolError

_HEAD = 5


def frame_message(message: bytes) -> bytes:
    """A message as it stands in a body."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class MessageReader:
    """The messages in a body that comes in pieces. limit: the most bytes that one may have; 0 for any number."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = 0) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def receive(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Raises ProtocolError; nothing more can be read then."""
        buffer = self._buffer
        buffer += data
        messages = []
        start = 0
        while len(buffer) - start >= _HEAD:
            if buffer[start]:
                raise ProtocolError(502, "grpc.compressed", "a message is compressed, which wasn't asked for")
            length = int.from_bytes(buffer[start + 1 : start + _HEAD], "big")
            if self._limit and length > self._limit:
                raise ProtocolError(502, "grpc.too_large", f"a message has {length} bytes, more than {self._limit}")
            end = start + _HEAD + length
            if len(buffer) < end:
                break
            messages.append(bytes(buffer[start + _HEAD : end]))
            start = end
        del buffer[:start]
        return messages

    @property
    def is_between(self) -> bool:
        """Whether nothing of a message has come that isn't whole."""
        return not self._buffer
