"""`envoy.filters.http.on_demand`: would fetch routes or clusters when a request needs them. All of them are known here,
so it does nothing; a configuration that asks for clusters on demand is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.http import HttpFilter

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class OnDemand(HttpFilter[None]):
    """Never in the plan."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> None:
        if view.has("odcds"):
            view.fail("discovery of clusters on demand isn't supported by meshproxy", "odcds")

    @classmethod
    def is_active(cls, config: None) -> bool:
        return False
