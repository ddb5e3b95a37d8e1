"""`envoy.filters.http.set_filter_state`: keeps texts under names, for the filters that follow, for routes and logs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_STRING = "envoy.string"


@dataclass(frozen=True, slots=True, eq=False)
class StateValue:
    """key: of the object. skip_empty: an empty text is not kept."""

    key: str
    format_value: Callable[[Any], str]
    skip_empty: bool


class SetFilterState(HttpFilter[tuple[StateValue, ...]]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> tuple[StateValue, ...]:
        return tuple(_read(entry, context) for entry in view.views("on_request_headers"))

    @classmethod
    def is_active(cls, config: tuple[StateValue, ...]) -> bool:
        return bool(config)

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        for entry in self.config:
            value = entry.format_value(stream)
            if value or not entry.skip_empty:
                stream.set_filter_state(entry.key, value)


def _read(view: ConfigView, context: FactoryContext) -> StateValue:
    factory = view.text("factory_key")
    if factory != _STRING:
        message = (
            f"objects of the kind '{factory or view.text('object_key')}' aren't supported by meshproxy; only texts"
        )
        view.fail(f"{message} ('{_STRING}') are", "factory_key")
    if view.boolean("read_only"):
        view.fail("objects that can't be overwritten aren't supported by meshproxy", "read_only")
    if view.enum("shared_with_upstream") != "NONE":
        view.fail("sharing with upstream connections isn't supported by meshproxy", "shared_with_upstream")
    text = view.required("format_string").required("text_format_source").text("inline_string")
    try:
        format_value = context.compile_format(text)
    except ValueError as error:
        view.fail(str(error), "format_string")
    return StateValue(view.text("object_key"), format_value, view.boolean("skip_if_empty"))
