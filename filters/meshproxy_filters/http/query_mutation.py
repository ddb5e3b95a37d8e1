"""What `header_mutation` does to the query of a request (`Mutations.query_parameter_mutations`).

As in Envoy the parameters stand in the order of their names afterwards, each with a `=`, and a value that is added is
percent-encoded. Names are compared decoded; what nobody asked to change keeps its spelling, where Envoy decodes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from meshproxy.headers import RequestHeaders
from meshproxy.matching import wire_text
from meshproxy.plugin.context import FactoryContext, Stream

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

Parameters = dict[str, list[str]]
"""Decoded name -> what stands for each value: `name=value`, as it is written."""

QueryStep = Callable[[Parameters, Stream], None]


def mutate_query(request: RequestHeaders, steps: tuple[QueryStep, ...], stream: Stream) -> None:
    path, _, query = request.path.partition("?")
    parameters: Parameters = {}
    for written in query.split("&") if query else ():
        name, _, value = written.partition("=")
        parameters.setdefault(unquote(name, "latin-1"), []).append(f"{name}={value}")
    for step in steps:
        step(parameters, stream)
    written = "&".join(text for name in sorted(parameters) for text in parameters[name])
    request.path = f"{path}?{written}" if written else path


def read_query_step(view: ConfigView, context: FactoryContext) -> QueryStep:
    """`KeyValueMutation`. Raises ConfigError."""
    append, removed = view.view("append"), wire_text(view.text("remove"))
    if (append is None) is (not removed):
        view.fail("one of 'append' and 'remove' is required, and only one")
    if append is None:
        return _removal(removed)
    return _read_append(append, context)


def _removal(name: str) -> QueryStep:
    def remove(parameters: Parameters, stream: Stream) -> None:
        parameters.pop(name, None)

    return remove


def _encoded(text: str) -> str:
    """All but letters, digits, `-`, `.` and `_`, as in Envoy."""
    return quote(text.encode("latin-1"), safe="").replace("~", "%7E")


def _read_append(view: ConfigView, context: FactoryContext) -> QueryStep:
    record = view.view("record")
    if record is None:
        view.fail("no 'record' to append")
    name, value = wire_text(record.text("key")), record.view("value")
    if value is None or value.which("kind") != "string_value":
        record.fail("the value of a record must be a string", "value")
    try:
        formatted = context.compile_header_format(value.text("string_value"))
    except ValueError as error:
        value.fail(str(error))
    action = view.enum("action")
    spelled = quote(name.encode("latin-1"), safe="%()")

    def append(parameters: Parameters, stream: Stream) -> None:
        found = parameters.get(name)
        if (found is not None and action == "ADD_IF_ABSENT") or (found is None and action == "OVERWRITE_IF_EXISTS"):
            return
        text = formatted if isinstance(formatted, str) else formatted(stream)
        written = f"{spelled}={_encoded(text)}"
        if found is None or action.startswith("OVERWRITE"):
            parameters[name] = [written]
        else:
            found.append(written)

    return append
