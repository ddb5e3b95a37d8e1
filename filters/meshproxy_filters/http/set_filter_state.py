"""`envoy.filters.http.set_filter_state`: keeps texts under names, for the filters that follow, for routes and logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.records import dataclass
from meshproxy_filters.filter_state_values import StateValue, compile_values, set_values

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


@dataclass(frozen=True, slots=True)
class SetFilterStateConfig:
    """clears_route: the route is chosen anew, for a match may look at the values."""

    values: tuple[StateValue, ...]
    clears_route: bool


class SetFilterState(HttpFilter[SetFilterStateConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> SetFilterStateConfig:
        values = compile_values(view.views("on_request_headers"), context)
        return SetFilterStateConfig(values, view.boolean("clear_route_cache"))

    @classmethod
    def is_active(cls, config: SetFilterStateConfig) -> bool:
        return bool(config.values) or config.clears_route

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        set_values(self.config.values, stream)
        if self.config.clears_route:
            stream.clear_route()
