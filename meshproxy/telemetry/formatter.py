"""Envoy's format strings and JSON formats, compiled once into one Python function each.

A log line is built for every request, so nothing is interpreted then: the operators' expressions (`operand`) and the
constants are put into the syntax tree of a function whose body is one f-string, and that is compiled. Constants enter
the tree as constants, never as source.

Text: values stand there raw, as in Envoy (quotes aren't escaped; a header value holds no control byte but TAB); what is
absent is "-", or nothing with `omit_empty_values`. JSON: one line, keys sorted, numbers as numbers, absent is null, or
the key is left out with `omit_empty_values`. Lines are Latin-1 text: one character for each byte.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from meshproxy.model.listener import NO_EXTENSIONS, FormatExtensions
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.records import dataclass
from meshproxy.suggest import did_you_mean
from meshproxy.telemetry.attribute_operators import (
    MASKABLE,
    NUMBERS,
    OPTIONAL_NUMBERS,
    PRESENT_TEXTS,
    TEXTS,
)
from meshproxy.telemetry.format_syntax import Command, FormatError, parse_format
from meshproxy.telemetry.operand import PRELUDE, Absent, FormatContext, Kind, Operand, Scope
from meshproxy.telemetry.operator_values import json_of, latin, quote
from meshproxy.telemetry.parameter_operators import BUILDERS, EXTENSION_BUILDERS, coalesce_commands

KNOWN_OPERATORS = frozenset({*TEXTS, *NUMBERS, *OPTIONAL_NUMBERS, *PRESENT_TEXTS, *BUILDERS, "COALESCE"})

Render = Callable[[StreamInfo], str]


@dataclass(frozen=True, slots=True)
class Formatter:
    """A compiled format. constant: what it always gives, when it names no operator; else None."""

    render: Render
    constant: str | None


def compile_text(
    text: str, context: FormatContext, omit_empty_values: bool = False, extensions: FormatExtensions = NO_EXTENSIONS
) -> Formatter:
    """Compile a format string.

    Raises FormatError (a ValueError) for what isn't a format, with the position.
    """
    scope = Scope(context)
    parts = _operands(text, scope, extensions)
    if all(isinstance(part, str) for part in parts):
        constant = "".join([part for part in parts if isinstance(part, str)])
        return Formatter(lambda info: constant, constant)
    return Formatter(_function(_joined(parts, "" if omit_empty_values else "-"), scope), None)


def compile_json(
    template: Mapping[str, Any],
    context: FormatContext,
    omit_empty_values: bool = False,
    extensions: FormatExtensions = NO_EXTENSIONS,
) -> Formatter:
    """Compile a JSON format: nested mappings, lists, format strings, and numbers, booleans and None as they are.

    A line ends with a newline. Raises FormatError like `compile_text`.
    """
    scope = Scope(context)
    if omit_empty_values:
        tree = _present_json(template, scope, extensions, top=True)
    else:
        tree = _json(template, scope, extensions)
    line = ast.JoinedStr([*_fragments(tree), ast.Constant("\n")])
    return Formatter(_function(line, scope), None)


def compile_header(value: str, context: FormatContext, extensions: FormatExtensions = NO_EXTENSIONS) -> Formatter:
    """Compile the value of a header that is added to a message; absent operands leave nothing.

    The older ways of writing, `%DYNAMIC_METADATA(["ns", "key"])%` and `%PER_REQUEST_STATE(key)%`, are understood too.
    """
    return compile_text(_modern(value), context, omit_empty_values=True, extensions=extensions)


def _modern(value: str) -> str:
    """`value` with the operators that only header formats have, written with those that all formats have."""
    out = []
    for part in parse_format(value):
        if isinstance(part, str):
            out.append(part.replace("%", "%%"))
            continue
        name, argument = part.name, part.argument
        if name == "PER_REQUEST_STATE" and argument:
            name, argument = "FILTER_STATE", f"{argument}:PLAIN"
        elif name in ("DYNAMIC_METADATA", "UPSTREAM_METADATA") and argument and argument.startswith("["):
            argument = _joined_path(value, part)
        length = "" if part.length is None else f":{part.length}"
        out.append(f"%{name}{'' if argument is None else f'({argument})'}{length}%")
    return "".join(out)


def _joined_path(text: str, command: Command) -> str:
    path = ast.literal_eval(command.argument or "")
    if not isinstance(path, list) or not all(isinstance(key, str) for key in path):
        raise FormatError(text, command.position, f"{command.name} takes a list of strings")
    return ":".join(path)


def _operands(text: str, scope: Scope, extensions: FormatExtensions) -> list[Operand | str]:
    """The parts of a format: Latin-1 constants and operands."""
    operands: list[Operand | str] = []
    for part in parse_format(text):
        if isinstance(part, str):
            operands.append(latin(part))
            continue
        try:
            operands.append(_operand(part, scope, extensions))
        except ValueError as error:
            raise FormatError(text, part.position, str(error)) from None
    return operands


def _operand(command: Command, scope: Scope, extensions: FormatExtensions) -> Operand | str:
    name = command.name
    scope.context.operators.add(name)
    if name == "COALESCE":
        return _coalesce([_operand(inner, scope, extensions) for inner in coalesce_commands(command)], command.length)
    if name in BUILDERS:
        return BUILDERS[name](command, scope)
    if name in extensions:
        make = extensions[name]
        if make is None:
            return EXTENSION_BUILDERS[name](command, scope)
        return Operand(f"{scope.bind(make(command.argument or ''))}()", length=command.length)
    if name not in KNOWN_OPERATORS:
        raise ValueError(f"no operator {name!r}{did_you_mean(name, KNOWN_OPERATORS)}")
    if name in MASKABLE and command.argument and command.length is None:
        bits = int(command.argument) if command.argument.isascii() and command.argument.isdigit() else -1
        return Operand(f"network_of({MASKABLE[name]}, {bits})", Kind.TEXT, Absent.EMPTY)
    if command.argument or command.length is not None:
        raise ValueError(f"{name} takes no parameter and no length")
    if name in TEXTS:
        return Operand(TEXTS[name], Kind.TEXT, Absent.EMPTY)
    if name in PRESENT_TEXTS:
        return Operand(PRESENT_TEXTS[name], Kind.TEXT, Absent.NEVER)
    if name in NUMBERS:
        return Operand(NUMBERS[name], Kind.NUMBER, Absent.NEVER)
    return Operand(OPTIONAL_NUMBERS[name], Kind.NUMBER, Absent.NONE)


def _coalesce(candidates: list[Operand | str], length: int | None) -> Operand:
    """The first of the candidates that is there; a number only if all of them are numbers."""
    operands = [c if isinstance(c, Operand) else Operand(repr(c), Kind.TEXT, Absent.NEVER) for c in candidates]
    if all(operand.kind is Kind.NUMBER for operand in operands):
        kind, sources = Kind.NUMBER, [operand.source for operand in operands]
    else:
        kind, sources = Kind.TEXT, [_text_or_none(operand) for operand in operands]
    source = "None"
    for candidate in reversed(sources):
        source = f"(v if (v := {candidate}) is not None else {source})"
    return Operand(source, kind, Absent.NONE, None, length)


def _condition(operand: Operand) -> str:
    return f"(v := {operand.source})" + ("" if operand.absent is Absent.EMPTY else " is not None")


def _shown(operand: Operand) -> str:
    """The text of the value `v`."""
    text = "text_of(v)" if operand.kind is Kind.VALUE else "str(v)" if operand.kind is Kind.NUMBER else "v"
    return text if operand.length is None else f"{text}[:{operand.length}]"


def _text_or_none(operand: Operand) -> str:
    operand = operand.in_text or operand
    return f"({_shown(operand)} if {_condition(operand)} else None)"


def _text_source(operand: Operand, default: str) -> str:
    """An expression for a text log."""
    operand = operand.in_text or operand
    if operand.absent is Absent.NEVER and operand.length is None and operand.kind in (Kind.TEXT, Kind.NUMBER):
        return operand.source
    if operand.length is None and operand.with_default is not None:
        return operand.with_default.format(repr(default))
    if operand.length is None and operand.kind is Kind.TEXT and operand.absent is Absent.EMPTY:
        return f"({operand.source} or {default!r})"
    return f"({_shown(operand)} if {_condition(operand)} else {default!r})"


def _json_shown(operand: Operand) -> str:
    """The JSON of the value `v`; a length cuts texts only."""
    if operand.kind is Kind.VALUE:
        cut = "" if operand.length is None else f"[:{operand.length}] if isinstance(v, str) else v"
        return f"json_of(v{cut})"
    if operand.kind is Kind.TEXT:
        return "quote(v)" if operand.length is None else f"quote(v[:{operand.length}])"
    return "v" if operand.kind is Kind.JSON else "str(v)"


def _json_source(operand: Operand) -> str:
    """An expression for a JSON log, "null" for what is absent."""
    if operand.length is None and operand.kind is Kind.TEXT:
        quoting = {Absent.NEVER: "quote", Absent.EMPTY: "quote_or_null_if_empty", Absent.NONE: "quote_or_null"}
        return f"{quoting[operand.absent]}({operand.source})"
    if operand.kind is Kind.NUMBER and operand.absent is Absent.NEVER:
        return operand.source
    return f"({_json_shown(operand)} if {_condition(operand)} else 'null')"


def _expression(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


def _call(function: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(function, ast.Load()), list(arguments), [])


def _joined(parts: Iterable[Operand | str], default: str) -> ast.JoinedStr:
    """The f-string of a text format."""
    fragments: list[ast.expr] = []
    for part in parts:
        if isinstance(part, str):
            fragments.append(ast.Constant(part))
        else:
            fragments.append(ast.FormattedValue(_expression(_text_source(part, default)), -1, None))
    return ast.JoinedStr(fragments)


def _fragments(tree: ast.expr) -> list[ast.expr]:
    """`tree` as parts of an f-string: those of an f-string are taken over."""
    if isinstance(tree, ast.JoinedStr):
        return tree.values
    return [tree if isinstance(tree, ast.Constant) else ast.FormattedValue(tree, -1, None)]


def _json(template: Any, scope: Scope, extensions: FormatExtensions) -> ast.expr:
    """An expression for the JSON of `template`."""
    fragments: list[ast.expr] = []
    if isinstance(template, Mapping):
        for index, key in enumerate(sorted(template)):
            fragments.append(ast.Constant(f"{',' if index else '{'}{quote(latin(key))}:"))
            fragments += _fragments(_json(template[key], scope, extensions))
        return ast.JoinedStr([*fragments, ast.Constant("}" if template else "{}")])
    if isinstance(template, list | tuple):
        for index, item in enumerate(template):
            fragments.append(ast.Constant("," if index else ""))
            fragments += _fragments(_json(item, scope, extensions))
        return ast.JoinedStr([ast.Constant("["), *fragments, ast.Constant("]")])
    if not isinstance(template, str):
        return ast.Constant(json_of(template))
    parts = _operands(template, scope, extensions)
    if len(parts) == 1 and isinstance(parts[0], Operand):
        return _expression(_json_source(parts[0]))
    return _json_string(parts, "-")


def _json_string(parts: list[Operand | str], default: str) -> ast.expr:
    """The JSON string of a format with constants in it, or of several operators."""
    if all(isinstance(part, str) for part in parts):
        return ast.Constant(quote("".join([part for part in parts if isinstance(part, str)])))
    return _call("quote", _joined(parts, default))


def _present_json(template: Any, scope: Scope, extensions: FormatExtensions, top: bool = False) -> ast.expr:
    """Like `_json`, for `omit_empty_values`: an expression that is None where nothing is to be printed.

    Absent members and items go, and members that are empty objects; an empty list stays, as in Envoy.
    """
    if isinstance(template, Mapping):
        members = [
            _call("keyed", ast.Constant(f"{quote(latin(key))}:"), _present_json(template[key], scope, extensions))
            for key in sorted(template)
        ]
        whole = ast.JoinedStr([ast.Constant("{"), *_fragments(_present(members)), ast.Constant("}")])
        return whole if top else _call("object_or_none", whole)
    if isinstance(template, list | tuple):
        items = [_present_json(item, scope, extensions) for item in template]
        return ast.JoinedStr([ast.Constant("["), *_fragments(_present(items)), ast.Constant("]")])
    if not isinstance(template, str):
        return ast.Constant(None if template is None else json_of(template))
    parts = _operands(template, scope, extensions)
    if len(parts) == 1 and isinstance(parts[0], Operand):
        operand = parts[0]
        if operand.absent is Absent.NEVER:
            return _expression(f"str({_json_source(operand)})")
        return _expression(f"({_json_shown(operand)} if {_condition(operand)} else None)")
    return _json_string(parts, "")


def _present(texts: list[ast.expr]) -> ast.expr:
    return _call("join_present", ast.Tuple(texts, ast.Load()))


def _function(body: ast.expr, scope: Scope) -> Render:
    """Compile `def render(info): return <body>`, with the parts of PRELUDE that the body uses before it."""
    used = {node.id for node in ast.walk(body) if isinstance(node, ast.Name)}
    statements: list[ast.stmt] = []
    for name, source in reversed(PRELUDE.items()):
        if name in used:
            statement = ast.parse(f"{name} = {source}").body[0]
            used |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            statements.insert(0, statement)
    module = ast.parse("def render(info): pass")
    definition = module.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.body = [*statements, ast.Return(body)]
    names = dict(scope.names)
    exec(compile(ast.fix_missing_locations(module), "<access log format>", "exec"), names)
    render = names["render"]
    assert callable(render)
    return render
