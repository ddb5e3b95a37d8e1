"""What the two set_filter_state filters keep: texts under names (envoy.extensions.filters.common.set_filter_state.v3).

Only kinds of objects that something here reads are made. Each of them is a text to us; the kind says who reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stream_info import HashableString, StreamInfo
from meshproxy.plugin.upstream import DYNAMIC_HOST, DYNAMIC_PORT, ORIGINAL_DST_ADDRESS
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

TCP_CLUSTER = "envoy.tcp_proxy.cluster"
"""The cluster that `tcp_proxy` takes instead of its own."""

_HASHABLE = ("envoy.hashable_string",)
_KINDS = ("envoy.string", TCP_CLUSTER, DYNAMIC_HOST, DYNAMIC_PORT, ORIGINAL_DST_ADDRESS, *_HASHABLE)


@dataclass(frozen=True, slots=True, eq=False)
class StateValue:
    """key: of the object. skip_empty: an empty text is not kept."""

    key: str
    hashable: bool
    format_value: Callable[[StreamInfo], str]
    skip_empty: bool


def compile_values(views: Sequence[ConfigView], context: FactoryContext) -> tuple[StateValue, ...]:
    """`FilterStateValue` messages. Raises ConfigError."""
    return tuple(_read(view, context) for view in views)


def set_values(values: Sequence[StateValue], info: StreamInfo) -> None:
    """Keep them in the filter state of `info`."""
    for entry in values:
        value = entry.format_value(info)
        if value or not entry.skip_empty:
            info.set_filter_state(entry.key, HashableString(value) if entry.hashable else value)


def _read(view: ConfigView, context: FactoryContext) -> StateValue:
    key = view.text("object_key")
    kind = view.text("factory_key") or key
    if kind not in _KINDS:
        known = " and ".join(f"'{name}'" for name in _KINDS)
        view.fail(f"objects of the kind '{kind}' aren't supported by meshproxy; those of {known} are", "factory_key")
    if view.boolean("read_only"):
        view.fail("objects that can't be overwritten aren't supported by meshproxy", "read_only")
    if view.enum("shared_with_upstream") != "NONE":
        view.fail("sharing with upstream connections isn't supported by meshproxy", "shared_with_upstream")
    text = view.required("format_string").required("text_format_source").text("inline_string")
    try:
        format_value = context.compile_format(text)
    except ValueError as error:
        view.fail(str(error), "format_string")
    return StateValue(key, kind in _HASHABLE, format_value, view.boolean("skip_if_empty"))
