"""`envoy.filters.network.direct_response`: says one thing and hangs up."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class DirectResponse(NetworkFilter[bytes]):
    """Its configuration is the text it sends to every connection."""

    terminal: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> bytes:
        response = view.view("response")
        return context.compile_data_source(response) if response is not None else b""

    def on_new_connection(self, connection: Connection) -> None:
        connection.stream.details = "direct_response"
        connection.write(self.config)
        connection.close()
