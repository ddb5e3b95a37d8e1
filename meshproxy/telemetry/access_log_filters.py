"""Access-log filters: predicates on a finished stream, composed when the configuration is compiled.

Source: envoy.config.accesslog.v3.AccessLogFilter. Header and metadata matchers are compiled by others and come in as
functions.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Sequence
from typing import Any

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.message_facts import response_grpc_status
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.telemetry.operator_values import metadata_at
from meshproxy.telemetry.request_id import stable_value
from meshproxy.telemetry.response_flags import RESPONSE_FLAGS

Predicate = Callable[[StreamInfo], bool]

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "EQ": operator.eq,
    "GE": operator.ge,
    "LE": operator.le,
    "NE": operator.ne,
}


def _comparison(name: str) -> Callable[[float, float], bool]:
    if name not in _COMPARISONS:
        raise ValueError(f"{name!r} is not one of {', '.join(_COMPARISONS)}")
    return _COMPARISONS[name]


def status_code(comparison: str, value: int) -> Predicate:
    """comparison: EQ, GE, LE or NE; a stream without response has the status 0."""
    compare = _comparison(comparison)
    return lambda info: compare(info.response_code, value)


def duration(comparison: str, milliseconds: int) -> Predicate:
    """Compares the whole milliseconds from start to end."""
    compare = _comparison(comparison)
    return lambda info: compare(int((info.end - info.start) * 1000 + 0.0005), milliseconds)


def not_health_check(info: StreamInfo) -> bool:
    """It wasn't a request that the health_check filter recognised."""
    return not info.health_check


def traceable(info: StreamInfo) -> bool:
    """The request was sampled for tracing."""
    return info.sampled


def fraction(numerator: int, denominator: int, independent: bool, randrange: Callable[[int], int]) -> Predicate:
    """A share of the streams. By the request id, so that all proxies choose the same, unless `independent`.

    randrange: draws from 0 to below its argument; used too when there is no id.
    """

    def predicate(info: StreamInfo) -> bool:
        value = None
        if not independent and info.request is not None:
            value = stable_value(info.request.fields.get("x-request-id", ""))
        return (randrange(denominator) if value is None else value % denominator) < numerator

    return predicate


def all_of(predicates: Sequence[Predicate]) -> Predicate:
    return lambda info: all(predicate(info) for predicate in predicates)


def any_of(predicates: Sequence[Predicate]) -> Predicate:
    return lambda info: any(predicate(info) for predicate in predicates)


def header(matches: Callable[[RequestHeaders], bool]) -> Predicate:
    """The request's head matches; a stream without one (TCP, a malformed head) doesn't."""
    return lambda info: info.request is not None and matches(info.request)


def response_flag(flags: Collection[str]) -> Predicate:
    """One of these flags is set; any flag if none are given. Raises ValueError for an unknown flag."""
    unknown = sorted(set(flags) - RESPONSE_FLAGS.keys())
    if unknown:
        raise ValueError(f"no response flag {unknown[0]!r}")
    if not flags:
        return lambda info: bool(info.flags)
    wanted = frozenset(flags)
    return lambda info: bool(info.flags) and not wanted.isdisjoint(info.flags.split(","))


def grpc_status(statuses: Collection[int], exclude: bool) -> Predicate:
    """The gRPC status is one of these, or none of them if `exclude`. Without one, the HTTP status is translated."""
    wanted = frozenset(statuses)
    return lambda info: (response_grpc_status(info) in wanted) is not exclude


def log_type(types: Collection[str], exclude: bool) -> Predicate:
    """The kind of entry (`%ACCESS_LOG_TYPE%`) is one of these, or none of them if `exclude`."""
    wanted = frozenset(types)
    return lambda info: (info.access_log_type in wanted) is not exclude


def metadata(path: Sequence[str], matches: Callable[[Any], bool], match_if_absent: bool) -> Predicate:
    """The dynamic metadata at `path` (its namespace first) matches."""
    keys = tuple(path)

    def predicate(info: StreamInfo) -> bool:
        value = metadata_at(info.dynamic_metadata, keys)
        return match_if_absent if value is None else matches(value)

    return predicate
