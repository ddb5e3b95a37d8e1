"""`*_headers_to_add` and `*_headers_to_remove` (envoy.config.core.v3.HeaderValueOption).

As in Envoy, neither a pseudo-field nor Host can be changed this way: rewrites of the route do that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshproxy.config.matching.matchers import compile_string_matcher
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError, Problem
from meshproxy.headers import Headers, check_name, check_value
from meshproxy.model.mirror import HeaderChange
from meshproxy.model.route import HeaderAddition, HeaderMutations, ValueFormatter
from meshproxy.plugin.mutations import apply_addition
from meshproxy.plugin.view import ConfigView


def compile_level(view: ConfigView, side: str, context: CompileContext) -> tuple[HeaderMutations, ...]:
    """The mutations that one message configures, as none or one level. side: "request" or "response".

    Problems are noted in the context, and the entry left out.
    """
    removed, added = f"{side}_headers_to_remove", f"{side}_headers_to_add"
    remove = []
    for name in view.texts(removed):
        if name.startswith(":") or name.lower() == "host":
            context.problems.append(view.error(f"':'-prefixed or host headers may not be removed: '{name}'", removed))
            continue
        try:
            remove.append(check_name(name))
        except ValueError as error:
            context.problems.append(view.error(str(error), removed))
    add = []
    for entry in view.views(added):
        with entry.collect(context.problems):
            add.append(compile_addition(entry, context))
    return (HeaderMutations.of(remove, add),) if remove or add else ()


def compile_mutations(
    additions: Sequence[ConfigView], removals: Sequence[str], context: CompileContext
) -> HeaderMutations | None:
    """For filters: `FactoryContext.compile_header_mutations`. Raises ConfigError with every problem."""
    problems: list[Problem] = []
    remove, add = [], []
    for name in removals:
        if name.startswith(":") or name.lower() == "host":
            problems.append(Problem("", f"':'-prefixed or host headers may not be removed: '{name}'"))
        else:
            remove.append(name.lower())
    for entry in additions:
        with entry.collect(problems):
            add.append(compile_addition(entry, context))
    if problems:
        raise ConfigError(problems)
    return HeaderMutations.of(remove, add) if remove or add else None


def compile_values(views: Sequence[ConfigView], context: CompileContext) -> HeaderMutations | None:
    """Plain `HeaderValue`s, each of which overwrites. Raises ConfigError."""
    additions = []
    for view in views:
        if view.text("key").startswith(":") or view.text("key").lower() == "host":
            view.fail(":-prefixed or host headers may not be modified", "key")
        try:
            name = check_name(view.text("key"))
        except ValueError as error:
            view.fail(str(error), "key")
        constant, format_value = _compile_value(view, context)
        additions.append(HeaderAddition(name, constant, format_value, "OVERWRITE_IF_EXISTS_OR_ADD"))
    return HeaderMutations.of((), additions) if additions else None


def compile_addition(view: ConfigView, context: CompileContext) -> HeaderAddition:
    """One `HeaderValueOption`. Raises ConfigError."""
    header = view.required("header")
    key = header.text("key")
    if key.startswith(":") or key.lower() == "host":
        header.fail(f"':'-prefixed or host headers may not be modified: '{key}'", "key")
    try:
        name = check_name(key)
    except ValueError as error:
        header.fail(str(error), "key")
    constant, format_value = _compile_value(header, context)
    keep = view.boolean("keep_empty_value")
    return HeaderAddition(name, constant, format_value, _action(view), keep)


def _compile_value(header: ConfigView, context: CompileContext) -> tuple[str | None, ValueFormatter | None]:
    raw = header.data("raw_value")
    if raw:
        if header.text("value"):
            header.fail("only one of 'value' and 'raw_value' can be set", "raw_value")
        text = raw.decode("utf-8", "surrogateescape")
    else:
        text = header.text("value")
    try:
        value = context.formats.header(text)
        if isinstance(value, str):
            return check_value(value), None
    except ValueError as error:
        header.fail(str(error), "value")
    return None, value


def _action(view: ConfigView) -> str:
    action = view.enum("append_action")
    if not view.has("append"):
        return action
    if action != "APPEND_IF_EXISTS_OR_ADD":
        view.fail("both 'append' and 'append_action' are set", "append")
    return action if view.boolean("append") else "OVERWRITE_IF_EXISTS_OR_ADD"


def compile_change(view: ConfigView, context: CompileContext) -> HeaderChange:
    """One `config.common.mutation_rules.v3.HeaderMutation`. Raises ConfigError."""
    kind = view.which("action")
    if kind == "append":
        addition = compile_addition(view.required(kind), context)
        return lambda headers, stream: apply_addition(addition, headers, stream)
    if kind == "remove":
        name = _checked_removal(view, view.text(kind))
        return lambda headers, stream: headers.remove(name)
    if kind == "remove_on_match":
        matches = compile_string_matcher(view.required(kind).required("key_matcher"))

        def remove_matching(headers: Headers, stream: Any) -> None:
            for name in {name for name in headers if matches(name)}:
                headers.remove(name)

        return remove_matching
    view.fail("a header mutation needs an action")


def _checked_removal(view: ConfigView, name: str) -> str:
    if name.startswith(":") or name.lower() == "host":
        view.fail(":-prefixed or host headers may not be modified", "remove")
    try:
        return check_name(name)
    except ValueError as error:
        view.fail(str(error), "remove")
