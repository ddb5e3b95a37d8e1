"""`envoy.filters.http.set_filter_state`: keeps texts under names, for the filters that follow, for routes and logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy_filters.filter_state_values import StateValue, compile_values, set_values

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class SetFilterState(HttpFilter[tuple[StateValue, ...]]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> tuple[StateValue, ...]:
        return compile_values(view.views("on_request_headers"), context)

    @classmethod
    def is_active(cls, config: tuple[StateValue, ...]) -> bool:
        return bool(config)

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        set_values(self.config, stream)
