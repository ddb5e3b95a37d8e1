"""`envoy.filters.network.echo`: sends back what comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class Echo(NetworkFilter[None]):
    """Writes every piece to where it came from; the client's end is answered with our own."""

    terminal: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> None:
        """It has no fields."""

    def on_data(self, data: bytes, end: bool, connection: Connection) -> None:
        stream = connection.stream
        stream.bytes_received += len(data)
        stream.bytes_sent += len(data)
        connection.write(data, end)
        if end:
            connection.close()

    def on_write_blocked(self, blocked: bool, connection: Connection) -> None:
        connection.read_disable(blocked)
