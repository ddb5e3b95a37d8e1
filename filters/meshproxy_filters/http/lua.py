"""`envoy.filters.http.lua` without a script: control planes such as Contour put one into each chain, for routes that
may want more. A script is nothing but comments here; one that says more is refused, for there is no Lua to run it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.http import HttpFilter

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NOTHING = re.compile(rb"(?:\s|--\[(=*)\[(?>.*?\]\1\])|--(?!\[=*\[)[^\n]*)*", re.DOTALL)
_REFUSED = (
    "meshproxy runs no Lua code; write the filter as a Python class (meshproxy.plugin.HttpFilter) and configure it "
    "with xds.type.v3.TypedStruct"
)


class Lua(HttpFilter[None]):
    """Never in the plan."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> None:
        inline = view.text("inline_code")
        if inline and view.has("default_source_code"):
            view.fail("only one of inline_code and default_source_code can be set", "inline_code")
        if not _NOTHING.fullmatch(inline.encode()):
            view.fail(_REFUSED, "inline_code")
        sources = [view.view("default_source_code"), *view.view_map("source_codes").values()]
        for source in filter(None, sources):
            _refuse_code(source, context)
        view.text("stat_prefix")  # of what scripts do
        view.boolean("clear_route_cache")

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> None:
        """`LuaPerRoute`."""
        kind = view.which("override")
        if kind == "source_code":
            _refuse_code(view.required("source_code"), context)
        elif kind == "disabled" and not view.boolean("disabled"):
            view.fail("it must be true where it is set", "disabled")
        elif kind == "name":
            view.text("name")  # of a script that has been found to say nothing
        view.struct("filter_context")

    @classmethod
    def is_active(cls, config: None) -> bool:
        return False


def _refuse_code(source: ConfigView, context: FactoryContext) -> None:
    if not _NOTHING.fullmatch(context.compile_data_source(source)):
        source.fail(_REFUSED)
