"""What the two set_filter_state filters keep: texts under names (envoy.extensions.filters.common.set_filter_state.v3).

Only kinds of objects that something here reads are made. Each of them is a text to us; the kind says who reads it, and
whether it must be an address: a text that is none is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from meshproxy.address import parse_address
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stream_info import HashableString, StreamInfo
from meshproxy.plugin.upstream import DYNAMIC_HOST, DYNAMIC_PORT, ORIGINAL_DST_ADDRESS
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

TCP_CLUSTER = "envoy.tcp_proxy.cluster"
"""The cluster that `tcp_proxy` takes instead of its own."""

RESTORED_LOCAL = "envoy.filters.listener.original_dst.local_ip"
RESTORED_REMOTE = "envoy.filters.listener.original_dst.remote_ip"
"""The addresses that `original_dst` restores of connections within the program."""

_ADDRESSES = (RESTORED_LOCAL, RESTORED_REMOTE, ORIGINAL_DST_ADDRESS)
_HASHABLE = ("envoy.hashable_string", "istio.hashable_string", *_ADDRESSES)
_KINDS = ("envoy.string", TCP_CLUSTER, DYNAMIC_HOST, DYNAMIC_PORT, *_HASHABLE)


@dataclass(frozen=True, slots=True, eq=False)
class StateValue:
    """key: of the object. address: it is one. skip_empty: an empty text is not kept.

    shared: connections to upstreams are given it too. further: they share it with theirs in turn.
    """

    key: str
    hashable: bool
    address: bool
    format_value: Callable[[StreamInfo], str]
    skip_empty: bool
    shared: bool
    further: bool


def compile_values(views: Sequence[ConfigView], context: FactoryContext) -> tuple[StateValue, ...]:
    """`FilterStateValue` messages. Raises ConfigError."""
    return tuple(_read(view, context) for view in views)


def set_values(values: Sequence[StateValue], info: StreamInfo) -> None:
    """Keep them in the filter state of `info`."""
    for entry in values:
        value = entry.format_value(info)
        if entry.address:
            value = _address(value)
            if not value:
                continue
        if value or not entry.skip_empty:
            info.set_filter_state(entry.key, HashableString(value) if entry.hashable else value)
            if entry.shared:
                info.share_filter_state(entry.key, further=entry.further)


def _address(text: str) -> str:
    try:
        return parse_address(text).text
    except ValueError:
        return ""


def _read(view: ConfigView, context: FactoryContext) -> StateValue:
    key = view.text("object_key")
    kind = view.text("factory_key") or key
    if kind not in _KINDS:
        known = " and ".join(f"'{name}'" for name in _KINDS)
        view.fail(f"objects of the kind '{kind}' aren't supported by meshproxy; those of {known} are", "factory_key")
    if view.boolean("read_only"):
        view.fail("objects that can't be overwritten aren't supported by meshproxy", "read_only")
    sharing = view.enum("shared_with_upstream")
    text = view.required("format_string").required("text_format_source").text("inline_string")
    try:
        format_value = context.compile_format(text)
    except ValueError as error:
        view.fail(str(error), "format_string")
    return StateValue(
        key,
        hashable=kind in _HASHABLE,
        address=kind in _ADDRESSES,
        format_value=format_value,
        skip_empty=view.boolean("skip_if_empty"),
        shared=sharing != "NONE",
        further=sharing == "TRANSITIVE",
    )
