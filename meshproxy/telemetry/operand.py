"""Envoy's format operators, each compiled to a Python expression.

Theory: a format is compiled once into one function, so an operator isn't an object that is called but a piece of
source, an `Operand`, that `formatter` puts into that function. It may use

- `info`, the `StreamInfo`; `request`, `request_fields`, `response`, `response_fields`, `trailer_fields`, `connection`,
  `tls`, `upstream_tls`, which the function fetches once if any of its operands names them (see PRELUDE);
- the helpers of HELPERS, and objects of its own that it has bound in the `Scope`.

Every text in a source is put there with `repr`, so nothing of a configuration is ever read as Python.

Behaviour: "Access log / command operators" of Envoy's documentation; what it leaves open was looked up in the running
program: what may carry a parameter or a length, and what is printed when there is nothing to print.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from enum import Enum

from meshproxy.address import INTERNAL_SCHEME, parse_internal
from meshproxy.cel.surroundings import Surroundings
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin import message_facts as facts
from meshproxy.plugin.stream_info import TlsInfo, split_address
from meshproxy.records import dataclass
from meshproxy.telemetry import operator_values as values
from meshproxy.telemetry.response_flags import long_flags
from meshproxy.telemetry.xfcc import xfcc_value


class Kind(Enum):
    """What an operand's expression evaluates to."""

    TEXT = "text"
    NUMBER = "number"
    VALUE = "value"  # anything JSON can say; bare text in a text log
    JSON = "json"  # a text that is JSON already


class Absent(Enum):
    """How an operand's expression says that there is nothing."""

    NEVER = "never"
    EMPTY = "empty"  # "" stands for absent
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Operand:
    """One operator as source.

    with_default: the same expression with a text for the absent case built in, when that is cheaper: `d.get(k, {})`,
    where {} is the place of the default's source.
    in_text: what stands for it in a text log, where that is something else.
    """

    source: str
    kind: Kind = Kind.TEXT
    absent: Absent = Absent.NONE
    with_default: str | None = None
    length: int | None = None
    in_text: Operand | None = None


def _random_uuid() -> str:
    import uuid  # few formats have one

    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class FormatContext:
    """What operators need beside the stream. Injected, so that a test is repeatable.

    monotonic, wall: the two clocks; unique_id: a new UUID as text.
    surroundings: what expressions see beside the stream.
    operators: the names of all operators that formats have used so far; some values are only noted if one asks for it.
    """

    hostname: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    unique_id: Callable[[], str] = _random_uuid
    operators: set[str] = field(default_factory=set)
    surroundings: Surroundings = field(default_factory=Surroundings)


class Scope:
    """The names a compiled format may use: the helpers, and what its operands bind."""

    def __init__(self, context: FormatContext) -> None:
        self.context = context
        self.names: dict[str, object] = {**HELPERS, "monotonic": context.monotonic, "wall": context.wall}

    def bind(self, value: object) -> str:
        """Make `value` known under a fresh name, which is returned."""
        name = f"bound{len(self.names)}"
        self.names[name] = value
        return name


def _ip_or_none(address: str) -> str:
    return split_address(address)[0] or address


def _endpoint_of(address: str) -> str:
    internal = parse_internal(address)
    return internal.endpoint_id if internal is not None else ""


def _port_or_none(address: str) -> int | str | None:
    if address.startswith(INTERNAL_SCHEME):
        return ""
    return split_address(address)[1] or None


def _underscored(text: str) -> str:
    return "_".join(text.split(" ")) if " " in text else text


HELPERS: dict[str, object] = {
    **{
        function.__name__: function
        for function in (
            values.duration_between,
            values.grpc_status,
            values.grpc_status_name,
            values.connection_ids_attempted,
            values.host_names_attempted,
            values.hosts_attempted,
            values.join_present,
            values.json_of,
            values.network_of,
            values.keyed,
            values.metadata_at,
            values.millis,
            values.millis_between,
            values.response_time,
            values.signed_millis,
            values.object_or_none,
            values.query_of,
            values.query_parameter,
            values.quote,
            values.quote_or_null,
            values.quote_or_null_if_empty,
            facts.request_bytes,
            facts.response_bytes,
            values.state_field,
            values.state_json,
            values.state_text,
            values.text_of,
            facts.trailer_bytes,
            values.without_query,
            xfcc_value,
        )
    },
    "endpoint_of": _endpoint_of,
    "ip_of": _ip_or_none,
    "long_flags": long_flags,
    "port_of": _port_or_none,
    "underscored": _underscored,
    "NO_FIELDS": Headers().fields,
    "NO_REQUEST": RequestHeaders("", "", "", ""),
    "NO_RESPONSE": ResponseHeaders(0),
    "NO_TLS": TlsInfo(),
}

# What the compiled function fetches first; each may use those before it.
PRELUDE = {
    "request": "info.request if info.request is not None else NO_REQUEST",
    "request_fields": "request.fields",
    "response": "info.response if info.response is not None else NO_RESPONSE",
    "response_fields": "response.fields",
    "trailer_fields": "info.response_trailers.fields if info.response_trailers is not None else NO_FIELDS",
    "connection": "info.connection",
    "tls": "connection.tls if connection.tls is not None else NO_TLS",
    "upstream_tls": "info.upstream_tls if info.upstream_tls is not None else NO_TLS",
}
