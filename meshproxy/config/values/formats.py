"""Substitution formats: the message around a format string (envoy.config.core.v3.SubstitutionFormatString)."""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.data_sources import read_data_source
from meshproxy.errors import ConfigError
from meshproxy.model.listener import NO_EXTENSIONS, FormatExtensions, LineFormatter, MakeOperator
from meshproxy.plugin.struct_view import StructView
from meshproxy.plugin.view import ConfigView
from meshproxy.records import dataclass

_BUILT_IN = {
    "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery": "REQ_WITHOUT_QUERY",
    "envoy.extensions.formatter.metadata.v3.Metadata": "METADATA",
    "envoy.extensions.formatter.cel.v3.Cel": "CEL",
}


@dataclass(frozen=True, slots=True)
class Format:
    """A compiled format. content_type: of what it makes, where that becomes a body."""

    make: LineFormatter
    content_type: str


def compile_substitution_format(view: ConfigView, context: CompileContext) -> Format:
    """`SubstitutionFormatString`. Raises ConfigError."""
    kind = view.which("format")
    omit = view.boolean("omit_empty_values")
    extensions = compile_extensions(view.views("formatters"), context)
    content_type = view.text("content_type")
    if kind == "json_format":
        value = view.struct("json_format")
        assert value is not None
        view.view("json_format_options")
        return Format(
            compile_json(value, context, omit_empty_values=omit, extensions=extensions),
            content_type or "application/json",
        )
    if kind == "text_format_source":
        text = read_data_source(view.required("text_format_source"), context).decode("utf-8", "replace")
    else:
        text = view.text("text_format")
    return Format(
        compile_text(view, kind or "format", text, context, omit_empty_values=omit, extensions=extensions),
        content_type or "text/plain",
    )


def compile_extensions(views: Sequence[ConfigView], context: CompileContext) -> FormatExtensions:
    """`formatters`: the operators that they add. Raises ConfigError."""
    return dict(_compile_extension(view, context) for view in views)


def _compile_extension(view: ConfigView, context: CompileContext) -> tuple[str, MakeOperator | None]:
    typed = view.any("typed_config")
    if typed is not None and typed.view is not None:
        if typed.full_name in _BUILT_IN:
            return _BUILT_IN[typed.full_name], None
        compile_operator = context.format_extensions.get(typed.full_name)
        if compile_operator is not None:
            return compile_operator(typed.view, context)
    view.fail(f"the formatter extensions of meshproxy are {', '.join((*_BUILT_IN, *context.format_extensions))}")


def compile_text(
    view: ConfigView,
    field: str,
    text: str,
    context: CompileContext,
    *,
    omit_empty_values: bool = False,
    extensions: FormatExtensions = NO_EXTENSIONS,
) -> LineFormatter:
    """A format string that stands in `field`. Raises ConfigError."""
    try:
        return context.formats.text(text, omit_empty_values=omit_empty_values, extensions=extensions)
    except ValueError as error:
        view.fail(str(error), field)


def compile_json(
    value: StructView,
    context: CompileContext,
    *,
    omit_empty_values: bool = False,
    extensions: FormatExtensions = NO_EXTENSIONS,
) -> LineFormatter:
    """A JSON format. Raises ConfigError."""
    try:
        return context.formats.json(value.value, omit_empty_values=omit_empty_values, extensions=extensions)
    except ValueError as error:
        raise ConfigError(value.error(str(error))) from None
