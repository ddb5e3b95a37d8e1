"""Which streams are logged: `AccessLogFilter` to a function of the finished stream (envoy.config.accesslog.v3).

A stream that lacks what a filter asks for (a TCP connection has no headers and no status) is treated as Envoy does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from meshproxy.config.matching.matchers import compile_fraction, compile_header_matcher, compile_runtime_integer
from meshproxy.config.matching.stream_matchers import ABSENT, compile_value_matcher, find_value
from meshproxy.config.values.context import CompileContext
from meshproxy.headers import Headers
from meshproxy.matching import FractionalPercent
from meshproxy.model.listener import LogPredicate
from meshproxy.plugin.message_facts import grpc_status_of_http
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.view import ConfigView
from meshproxy.runtime_values import as_numerator
from meshproxy.suggest import unsupported_extension

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "EQ": operator.eq,
    "GE": operator.ge,
    "LE": operator.le,
    "NE": operator.ne,
}

# google.rpc.Code, in order; the enum of the API is named alike.
_GRPC_CODES = (
    *("OK", "CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)


_CEL = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"


def compile_log_filter(view: ConfigView, context: CompileContext) -> LogPredicate:
    """`AccessLogFilter`. Raises ConfigError."""
    kind = view.which("filter_specifier")
    compiler = _COMPILERS.get(kind or "")
    if kind is None or compiler is None:
        view.fail(f"'{kind}' isn't supported by meshproxy" if kind else "a filter of some kind is required", kind or "")
    return compiler(view.required(kind), context)


def _comparison(view: ConfigView, context: CompileContext) -> Callable[[float], bool]:
    comparison = view.required("comparison")
    compare = _COMPARISONS[comparison.enum("op")]
    limit = compile_runtime_integer(comparison.required("value"), context)
    return lambda value: compare(value, limit.value)


def _status_code(view: ConfigView, context: CompileContext) -> LogPredicate:
    holds = _comparison(view, context)
    return lambda stream: holds(stream.response_code)


def _duration(view: ConfigView, context: CompileContext) -> LogPredicate:
    holds = _comparison(view, context)
    return lambda stream: holds(int((stream.end - stream.start) * 1000))


def _not_health_check(view: ConfigView, context: CompileContext) -> LogPredicate:
    return lambda stream: not stream.health_check


def _traceable(view: ConfigView, context: CompileContext) -> LogPredicate:
    return lambda stream: bool(stream.sampled)


def _runtime(view: ConfigView, context: CompileContext) -> LogPredicate:
    percent = view.required("percent_sampled") if view.has("percent_sampled") else None
    fraction = compile_fraction(percent) if percent is not None else None
    share = context.runtime.share(view.text("runtime_key"), fraction or _NOTHING, as_numerator)
    draw = share.sampler(context.rng)
    if view.boolean("use_independent_randomness"):
        return lambda stream: draw()

    def holds(stream: StreamInfo) -> bool:
        # All that sample by the request id take the same share: its first 32 bits are the random number.
        try:
            return share.covers(int(stream.request_id[:8], 16))
        except ValueError:
            return draw()

    return holds


def _all_of(view: ConfigView, context: CompileContext) -> LogPredicate:
    filters = tuple(compile_log_filter(entry, context) for entry in view.views("filters"))
    return lambda stream: all(holds(stream) for holds in filters)


def _any_of(view: ConfigView, context: CompileContext) -> LogPredicate:
    filters = tuple(compile_log_filter(entry, context) for entry in view.views("filters"))
    return lambda stream: any(holds(stream) for holds in filters)


_NO_HEADERS = Headers()


def _header(view: ConfigView, context: CompileContext) -> LogPredicate:
    matches = compile_header_matcher(view.required("header"))
    return lambda stream: matches(stream.request if stream.request is not None else _NO_HEADERS)


def _response_flag(view: ConfigView, context: CompileContext) -> LogPredicate:
    wanted = frozenset(view.texts("flags"))
    if not wanted:
        return lambda stream: bool(stream.flags)
    return lambda stream: bool(stream.flags) and not wanted.isdisjoint(stream.flags.split(","))


def grpc_status(stream: StreamInfo) -> int:
    """The gRPC status of a stream: from the trailers, the head, or what its HTTP status stands for."""
    for headers in (stream.response_trailers, stream.response):
        text = headers.get("grpc-status") if headers is not None else None
        if text and text.isascii() and text.isdigit():
            return int(text)
    return grpc_status_of_http(stream.response_code)


def _grpc_status(view: ConfigView, context: CompileContext) -> LogPredicate:
    statuses = frozenset(_GRPC_CODES.index(name) for name in view.enums("statuses"))
    exclude = view.boolean("exclude")
    return lambda stream: (grpc_status(stream) in statuses) is not exclude


def _metadata(view: ConfigView, context: CompileContext) -> LogPredicate:
    otherwise = view.boolean("match_if_key_not_found", True)
    matcher = view.view("matcher")
    if matcher is None:
        return lambda stream: otherwise
    keys = (matcher.text("filter"), *(segment.text("key") for segment in matcher.views("path")))
    test = compile_value_matcher(matcher.required("value"))

    def holds(stream: StreamInfo) -> bool:
        value = find_value(stream.dynamic_metadata, keys)
        return otherwise if value is ABSENT else test(value)

    return holds


def _extension(view: ConfigView, context: CompileContext) -> LogPredicate:
    view.text("name")
    typed = view.any("typed_config")
    if typed is None:
        view.fail("'typed_config' is required: a filter is found by the type of its configuration")
    if typed.full_name != _CEL:
        typed.fail(unsupported_extension(typed.full_name, (_CEL,)))
    expression = typed.message(_CEL)
    from meshproxy.config.values.expressions import compile_text_expression  # few logs have one

    return compile_text_expression(expression, "expression", expression.view("cel_config"), context.surroundings)


def _log_type(view: ConfigView, context: CompileContext) -> LogPredicate:
    types = frozenset(view.enums("types"))
    exclude = view.boolean("exclude")
    return lambda stream: ((stream.access_log_type or "NotSet") in types) is not exclude


_NOTHING = FractionalPercent(0)

_COMPILERS: dict[str, Callable[[ConfigView, CompileContext], LogPredicate]] = {
    "status_code_filter": _status_code,
    "duration_filter": _duration,
    "not_health_check_filter": _not_health_check,
    "traceable_filter": _traceable,
    "runtime_filter": _runtime,
    "and_filter": _all_of,
    "or_filter": _any_of,
    "header_filter": _header,
    "response_flag_filter": _response_flag,
    "grpc_status_filter": _grpc_status,
    "metadata_filter": _metadata,
    "log_type_filter": _log_type,
    "extension_filter": _extension,
}
