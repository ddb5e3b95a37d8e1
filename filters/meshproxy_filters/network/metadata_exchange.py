"""`istio.metadata_exchange` for TCP: takes away what a peer says of itself before the first byte of its application.

See `meshproxy.plugin.peer_exchange`. What it says is kept in the filter state of the connection, as `downstream_peer`;
on a connection of another protocol than the configured one nobody says anything, and that is kept too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.peer_exchange import PeerPart, TooLong, own_part
from meshproxy.plugin.workload import DOWNSTREAM_PEER, NO_PEER, Peer, Workload
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


@dataclass(frozen=True, slots=True)
class ExchangeConfig:
    """own: what is said of ourselves. labels: of the peer, further ones that are kept."""

    protocol: str
    own: bytes
    labels: tuple[str, ...]


class MetadataExchange(NetworkFilter[ExchangeConfig]):
    """See the module."""

    _peer: PeerPart | None = None
    _owes: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> ExchangeConfig:
        view.ignore("enable_discovery")
        labels = tuple(view.texts("additional_labels"))
        return ExchangeConfig(view.text("protocol"), own_part(context.node.id, context.node.metadata, labels), labels)

    def on_new_connection(self, connection: Connection) -> None:
        if self.config.protocol and connection.info.alpn == self.config.protocol:
            self._peer = PeerPart(self.config.labels)
            self._owes = True
        else:
            _remember(connection, None)

    def on_data(self, data: bytes, end: bool, connection: Connection) -> bytes | None:
        peer = self._peer
        if peer is None:
            return None
        try:
            data = peer.feed(data, end)
        except TooLong:
            connection.close(reset=True)
            return b""
        if peer.over:
            self._peer = None
            _remember(connection, peer.workload)
            if peer.told:
                connection.write(b"")  # our part, if nothing has been written yet
        return data

    def on_write(self, data: bytes, end: bool, connection: Connection) -> bytes | None:
        if not self._owes:
            return None
        self._owes = False
        return self.config.own + data


def _remember(connection: Connection, workload: Workload | None) -> None:
    stream = connection.stream
    for key, value in (Peer(workload).under(DOWNSTREAM_PEER) if workload else {NO_PEER: True}).items():
        stream.set_filter_state(key, value)
    connection.info.filter_state = stream.filter_state
