"""A route table from its text alone."""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.config.http.routes import compile_route_table
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError
from meshproxy.model.listener import FilterSpec
from meshproxy.model.route import RouteTable
from tests.unit.config_compile.compiling import make_context, view_of

ROUTE_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"


def compile_table(text: str, context: CompileContext | None = None, filters: Sequence[FilterSpec] = ()) -> RouteTable:
    """Raises ConfigError, also for what nothing read."""
    context = context or make_context()
    view = view_of(ROUTE_CONFIGURATION, text)
    table = compile_route_table(view, filters, context)
    problems = [*context.problems, *view.unread_problems()]
    if problems:
        raise ConfigError(problems)
    return table
