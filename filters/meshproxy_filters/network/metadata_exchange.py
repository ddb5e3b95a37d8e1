"""`istio.metadata_exchange` for TCP: takes away what a peer says of itself before the first byte of its application.

See `meshproxy.plugin.peer_exchange`. On a connection of another protocol than the configured one it does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.peer_exchange import NOTHING, PeerPart, TooLong

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class MetadataExchange(NetworkFilter[str]):
    """See the module. Its configuration is the protocol's name."""

    _peer: PeerPart | None = None
    _owes: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> str:
        view.ignore("enable_discovery", "additional_labels")
        return view.text("protocol")

    def on_new_connection(self, connection: Connection) -> None:
        if self.config and connection.info.alpn == self.config:
            self._peer = PeerPart()
            self._owes = True

    def on_data(self, data: bytes, end: bool, connection: Connection) -> bytes | None:
        peer = self._peer
        if peer is None:
            return None
        try:
            data = peer.feed(data)
        except TooLong:
            connection.close(reset=True)
            return b""
        if peer.over:
            self._peer = None
            if peer.told:
                connection.write(b"")  # our part, if nothing has been written yet
        return data

    def on_write(self, data: bytes, end: bool, connection: Connection) -> bytes | None:
        if not self._owes:
            return None
        self._owes = False
        return NOTHING + data
