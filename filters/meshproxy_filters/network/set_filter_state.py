"""`envoy.filters.network.set_filter_state`: keeps texts of a connection under names.

Filters behind it, the log of the connection, and the requests that it carries find them there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter
from meshproxy_filters.filter_state_values import StateValue, compile_values, set_values

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class SetFilterState(NetworkFilter[tuple[StateValue, ...]]):
    """See the module."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> tuple[StateValue, ...]:
        return compile_values(view.views("on_new_connection"), context)

    def on_new_connection(self, connection: Connection) -> None:
        set_values(self.config, connection.stream)
        connection.info.filter_state = connection.stream.filter_state
        connection.info.shared_state = connection.stream.shared_state
