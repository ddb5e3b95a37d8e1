"""`istio.metadata_exchange` for TCP: takes away what a peer says of itself before the first byte of its application.

Where both ends agreed by ALPN on `protocol` (`istio-peer-exchange`), each sends a magic number, a length, and a message
about itself. What the peer says isn't used: the metrics ask its certificate. But it must not reach the application, and
the peer waits for our part, which says nothing. On any other connection the filter does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_MAGIC = 0x3D230467.to_bytes(4, "big")
_HEAD = 8
_LONGEST = 1 << 20
_NOTHING = _MAGIC + (0).to_bytes(4, "big")


class MetadataExchange(NetworkFilter[str]):
    """See the module. Its configuration is the protocol's name."""

    _listens: bool = False
    _owes: bool = False
    _held: bytes = b""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> str:
        view.ignore("enable_discovery", "additional_labels")
        return view.text("protocol")

    def on_new_connection(self, connection: Connection) -> None:
        self._listens = self._owes = bool(self.config) and connection.info.alpn == self.config

    def on_data(self, data: bytes, end: bool, connection: Connection) -> bytes | None:
        if not self._listens:
            return None
        held = self._held + data
        if held[:4] != _MAGIC[: len(held)]:  # the peer tells nothing after all
            self._listens = False
            return held
        size = _HEAD + int.from_bytes(held[4:8], "big")
        if size > _LONGEST:
            connection.close(reset=True)
            return b""
        if len(held) < _HEAD or len(held) < size:
            self._held = held
            return b""
        self._listens = False
        connection.write(b"")  # our part, if nothing has been written yet
        return held[size:]

    def on_write(self, data: bytes, end: bool, connection: Connection) -> bytes | None:
        if not self._owes:
            return None
        self._owes = False
        return _NOTHING + data
