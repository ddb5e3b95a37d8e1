"""Where the routes of one connection manager stand, and how the next generation of them comes to be the one in force.

A table is immutable. It is replaced as a whole: who uses the slot is told, and takes the new table from then on; a
request that has its route keeps it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from meshproxy.model.discovery import ConfigSource
from meshproxy.model.route import RouteTable
from meshproxy.steps import Steps

_NONE = RouteTable(name="")


class RouteSlot:
    """One slot.

    source, name: from where discovery fetches them; None and "" for routes that are configured in place.
    table: an empty one as long as none has come. compile: from a view of a `RouteConfiguration` to a table for the HTTP
    filters of this connection manager. Raises ConfigError.
    """

    def __init__(
        self,
        table: RouteTable | None = None,
        source: ConfigSource | None = None,
        name: str = "",
        compile: Callable[[Any], Steps[RouteTable]] | None = None,
    ) -> None:
        self.table = table or _NONE
        self.source = source
        self.name = name
        self.compile = compile
        self._users: weakref.WeakSet[Any] = weakref.WeakSet()

    def attach(self, user: Any) -> None:
        """`user.use_routes(table)` is called with every new table, as long as the user lives."""
        self._users.add(user)

    def set(self, table: RouteTable | None) -> None:
        """A new table is in force; None: there is none any more."""
        self.table = table or _NONE
        for user in list(self._users):
            user.use_routes(self.table)
