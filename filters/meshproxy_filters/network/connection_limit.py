"""`envoy.filters.network.connection_limit`: refuses connections beyond so many at a time.

A connection counts from its beginning to its end. One too many is closed at once, or after `delay`, which keeps a
client from coming back as fast as it can; it counts as active while it waits, but not towards the limit. Each worker
has a count of its own: N workers let through up to N times as many.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter
from meshproxy.runtime_values import ON

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class Limit:
    """What the connections of a filter chain share. delay: seconds; let_through: those that count now."""

    def __init__(self, prefix: str, maximum: int, delay: float, context: FactoryContext) -> None:
        scope = context.root_stats.scope(f"connection_limit.{prefix}.")
        self.active = scope.gauge("active_connections")
        self.limited = scope.counter("limited_connections")
        self.maximum = maximum
        self.delay = delay
        self.let_through = 0
        self.enabled = ON


class ConnectionLimit(NetworkFilter[Limit]):
    """See the module."""

    _counted: bool = False
    _refused: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> Limit:
        if not view.has("max_connections"):
            view.fail("field 'max_connections' is required")
        limit = Limit(view.text("stat_prefix"), view.integer("max_connections"), view.seconds("delay", 0.0), context)
        enabled = view.view("runtime_enabled")
        if enabled is not None:
            limit.enabled = context.compile_runtime_flag(enabled)
        return limit

    def on_new_connection(self, connection: Connection) -> Awaitable[None] | None:
        limit = self.config
        if not limit.enabled.value:
            return None
        self._counted = True
        limit.active.inc()
        if limit.let_through < limit.maximum:
            limit.let_through += 1
            return None
        self._refused = True
        limit.limited.value += 1
        connection.info.local_close_reason = "over_connection_limit"
        if limit.delay:
            return self._close_later(limit.delay, connection)
        connection.close()
        return None

    async def _close_later(self, delay: float, connection: Connection) -> None:
        await connection.sleep(delay)
        connection.close()

    def on_close(self, connection: Connection) -> None:
        limit = self.config
        if not self._counted:
            return
        self._counted = False
        limit.active.value -= 1
        if not self._refused:
            limit.let_through -= 1
