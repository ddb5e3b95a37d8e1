"""What two sidecars of Istio say of themselves on a TCP connection, before the first byte of its application.

Where both ends agreed by ALPN on the protocol (`istio-peer-exchange`), each sends a magic number, a length, and a
message about itself (istio/proxy: metadata_exchange_initial_header.h). What the peer says isn't used: metrics ask its
certificate. But it must not reach the application, and the peer waits for our part, which says nothing.
"""

from __future__ import annotations

_MAGIC = 0x3D230467.to_bytes(4, "big")
_HEAD = 8
_LONGEST = 1 << 20
NOTHING = _MAGIC + (0).to_bytes(4, "big")
"""Our part."""


class TooLong(Exception):
    """The peer says more than anybody has to say of himself."""


class PeerPart:
    """Takes the peer's part off the front of what it sends. told: there was one."""

    __slots__ = ("_held", "over", "told")

    def __init__(self) -> None:
        self._held = b""
        self.over = self.told = False

    def feed(self, data: bytes) -> bytes:
        """What of the bytes so far is the application's; `over` says that all further ones are. Raises TooLong."""
        held = self._held + data
        if held[:4] != _MAGIC[: len(held)]:  # the peer tells nothing after all
            self.over = True
            return held
        size = _HEAD + int.from_bytes(held[4:8], "big")
        if size > _LONGEST:
            raise TooLong
        if len(held) < _HEAD or len(held) < size:
            self._held = held
            return b""
        self.over = self.told = True
        return held[size:]
