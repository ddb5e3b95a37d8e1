"""`local_reply_config`: what becomes of answers that the proxy gives by itself
(http_connection_manager.v3.LocalReplyConfig, ResponseMapper)."""

from __future__ import annotations

from meshproxy.config.http.header_mutations import compile_addition
from meshproxy.config.reporting.log_filters import compile_log_filter
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.data_sources import read_data_source
from meshproxy.config.values.formats import Format, compile_substitution_format
from meshproxy.model.http import LocalReplyConfig, LocalReplyMapper
from meshproxy.model.route import HeaderMutations
from meshproxy.plugin.view import ConfigView


def compile_local_replies(view: ConfigView, context: CompileContext) -> LocalReplyConfig:
    """`LocalReplyConfig`. Problems of single mappers are noted in the context; others raise ConfigError."""
    mappers = []
    for entry in view.views("mappers"):
        with entry.collect(context.problems):
            mappers.append(_compile_mapper(entry, context))
    body_format = _compile_format(view, "body_format", context)
    return LocalReplyConfig(
        mappers=tuple(mappers),
        format_body=body_format.make if body_format else None,
        content_type=body_format.content_type if body_format else "",
    )


def _compile_format(view: ConfigView, field: str, context: CompileContext) -> Format | None:
    body_format = view.view(field)
    return compile_substitution_format(body_format, context) if body_format is not None else None


def _compile_mapper(view: ConfigView, context: CompileContext) -> LocalReplyMapper:
    body = view.view("body")
    body_format = _compile_format(view, "body_format_override", context)
    return LocalReplyMapper(
        predicate=compile_log_filter(view.required("filter"), context),
        status=view.integer("status_code") if view.has("status_code") else None,
        body=read_data_source(body, context).decode("latin-1") if body is not None else None,
        mutations=HeaderMutations.of((), [compile_addition(entry, context) for entry in view.views("headers_to_add")]),
        format_body=body_format.make if body_format else None,
        content_type=body_format.content_type if body_format else "",
    )
