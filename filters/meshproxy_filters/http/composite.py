"""`envoy.filters.http.composite`: the place in a chain where a matcher tree puts a filter; see `match_delegate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.http import HttpFilter

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class Composite(HttpFilter[None]):
    """Does nothing by itself."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> None:
        return None

    @classmethod
    def is_active(cls, config: None) -> bool:
        return False
