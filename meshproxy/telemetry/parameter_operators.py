"""The operators that take a parameter: a builder for each one, from the command to an operand or to a constant text.

Builders raise ValueError with a message; `formatter` adds the place.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from meshproxy.headers import check_name
from meshproxy.suggest import did_you_mean
from meshproxy.telemetry.format_syntax import Command
from meshproxy.telemetry.operand import Absent, Kind, Operand, Scope
from meshproxy.telemetry.operator_values import latin
from meshproxy.telemetry.timestamps import DEFAULT_LOCAL, DEFAULT_UTC, compile_time
from meshproxy.telemetry.xfcc import KEYS

Builder = Callable[[Command, Scope], Operand | str]

_POINTS = {
    "DS_CX_BEG": "connection.started",
    "DS_CX_END": "(connection.ended or (0.0 if info.protocol else info.end))",
    "DS_HS_BEG": "connection.handshake_began",
    "DS_HS_END": "connection.handshake_complete",
    "DS_RX_BEG": "info.start",
    "DS_RX_HDR_END": "(info.start if info.request is not None else 0.0)",
    "DS_RX_END": "info.request_complete",
    "US_CX_BEG": "info.upstream_connect_start",
    "US_CX_END": "info.upstream_connect_complete",
    "US_HS_END": "info.upstream_handshake_complete",
    "US_TX_BEG": "info.first_upstream_tx",
    "US_TX_END": "info.last_upstream_tx",
    "US_RX_BEG": "info.first_upstream_rx",
    "US_RX_BODY_BEG": "info.first_upstream_body_rx",
    "US_RX_END": "info.last_upstream_rx",
    "DS_TX_BEG": "info.first_downstream_tx",
    "DS_TX_END": "info.last_downstream_tx",
}
_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_METADATA = {
    "DYNAMIC": "info.dynamic_metadata",
    "CLUSTER": "info.upstream_cluster_metadata",
    "ROUTE": "info.route_metadata",
    "UPSTREAM_HOST": "info.upstream_host_metadata",
    "VIRTUAL_HOST": "info.virtual_host_metadata",
    "LISTENER": "connection.listener_metadata",
    "LISTENER_FILTER_CHAIN": "connection.filter_chain_metadata",
}
_PSEUDO = {":method": "request.method", ":path": "request.path", ":scheme": "request.scheme",
           ":authority": "request.authority", "host": "request.authority"}  # fmt: skip


def _required(command: Command) -> str:
    if not command.argument:
        raise ValueError(f"{command.name} needs a parameter")
    return command.argument


def _one_of(what: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{what} {value!r} is not one of {', '.join(known)}{did_you_mean(value, known)}")
    return value


def _no_length(command: Command) -> None:
    if command.length is not None:
        raise ValueError(f"{command.name} takes no length")


def _alternatives(command: Command) -> list[str]:
    """The one or two header names of `NAME?ALTERNATIVE`."""
    names = _required(command).split("?")
    if len(names) > 2:
        raise ValueError("there may be one alternative header, after one '?'")
    present = [name for name in names if name]
    for name in present:
        check_name(name.removeprefix(":"))
    if not present:
        raise ValueError(f"{command.name} needs a header name")
    return [name.lower() for name in present]


def _fields(fields: str, command: Command, pseudo: dict[str, str]) -> Operand:
    """The first value of a header. The second name counts when the first isn't there, not when it is empty."""
    names = _alternatives(command)
    source, with_default, absent = "None", "{}", Absent.NONE
    for name in reversed(names):
        if name in pseudo:
            source, with_default, absent = pseudo[name], f"({pseudo[name]} or {{}})", Absent.EMPTY
        elif source == "None":
            source, with_default, absent = f"{fields}.get({name!r})", f"{fields}.get({name!r}, {{}})", Absent.NONE
        elif absent is Absent.EMPTY:
            with_default = f"{fields}.get({name!r}, {with_default})"
            source, absent = f"{fields}.get({name!r}, {source} or None)", Absent.NONE
        else:
            with_default = f"{fields}.get({name!r}, {with_default})"
            source = f"{fields}.get({name!r}, {source})"
    return Operand(source, Kind.TEXT, absent, with_default, command.length)


def _request_header(command: Command, scope: Scope) -> Operand:
    return _fields("request_fields", command, _PSEUDO)


def _response_header(command: Command, scope: Scope) -> Operand:
    status = {":status": "(str(response.status) if response.status else '')"}
    return _fields("response_fields", command, status)


def _response_trailer(command: Command, scope: Scope) -> Operand:
    return _fields("trailer_fields", command, {})


def _header_without_query(command: Command, scope: Scope) -> Operand:
    value = _fields("request_fields", command, _PSEUDO)
    return Operand(f"without_query({value.source} or '')", absent=Absent.EMPTY, length=command.length)


def _path_source(which: str) -> str:
    original = "request_fields.get('x-envoy-original-path')"
    if which == "ORIG":
        return original
    path = "(request.path or None)"
    return path if which == "PATH" else f"request_fields.get('x-envoy-original-path', {path})"


def _path(command: Command, scope: Scope) -> Operand:
    query, _, which = (command.argument or "").partition(":")
    _one_of("the query option", query or "WQ", ("WQ", "NQ"))
    source = _path_source(_one_of("the path option", which or "ORIG_OR_PATH", ("ORIG", "PATH", "ORIG_OR_PATH")))
    if query != "NQ":
        return Operand(source, length=command.length)
    return Operand(f"without_query({source} or '')", absent=Absent.EMPTY, length=command.length)


def _xfcc_value(command: Command, scope: Scope) -> Operand:
    key = _one_of("the key", _required(command).lower(), KEYS)
    source = f"xfcc_value(request_fields.get('x-forwarded-client-cert'), {key!r})"
    return Operand(source, length=command.length)


def _query_parameter(command: Command, scope: Scope) -> Operand:
    return Operand(f"query_parameter(request.path, {latin(_required(command))!r})", length=command.length)


def _query_parameters(command: Command, scope: Scope) -> Operand:
    option = _one_of("the option", command.argument or "ORIG", ("ORIG", "DECODED"))
    return Operand(f"query_of(request.path, {option == 'DECODED'})", length=command.length)


def _time_builder(wall: str, utc: bool, default: str, absent: bool = False) -> Builder:
    def build(command: Command, scope: Scope) -> Operand:
        _no_length(command)
        pattern = command.argument or default
        if "\n" in pattern or "%n" in pattern:
            raise ValueError("a time format holds no newline")
        render = scope.bind(compile_time(latin(pattern), utc))
        if absent:
            return Operand(f"({render}({wall}) if {wall} else None)")
        return Operand(f"{render}({wall})", absent=Absent.NEVER)

    return build


def _common_duration(command: Command, scope: Scope) -> Operand:
    _no_length(command)
    parts = _required(command).split(":")
    if len(parts) not in (2, 3):
        raise ValueError("COMMON_DURATION takes START:END or START:END:PRECISION")
    precision = _one_of("the precision", parts[2] if len(parts) == 3 else "ms", tuple(_PER_SECOND))
    begin, end = [
        _POINTS.get(point, f"(info.named_times.get({latin(point)!r}, 0.0) if info.named_times else 0.0)")
        for point in parts[:2]
    ]
    return Operand(f"duration_between({begin}, {end}, {_PER_SECOND[precision]})", Kind.NUMBER)


def _metadata_operand(source: str, path: str, length: int | None) -> Operand:
    keys = tuple(path.split(":"))
    return Operand(f"metadata_at({source}, {keys!r})", Kind.VALUE, length=length)


def _metadata_builder(kind: str) -> Builder:
    return lambda command, scope: _metadata_operand(_METADATA[kind], _required(command), command.length)


def _metadata(command: Command, scope: Scope) -> Operand:
    kind, _, path = _required(command).partition(":")
    _one_of("the type of metadata", kind, tuple(_METADATA))
    return _metadata_operand(_METADATA[kind], path, command.length)


def _filter_state_builder(state: str) -> Builder:
    def build(command: Command, scope: Scope) -> Operand:
        name, *options = _required(command).split(":")
        if not name:
            raise ValueError(f"{command.name} needs the name of an object")
        form = _one_of("the form", options[0] if options else "TYPED", ("PLAIN", "TYPED", "FIELD"))
        if len(options) != {"PLAIN": 1, "FIELD": 2}.get(form, len(options[:1])) or (form == "FIELD" and not options[1]):
            raise ValueError("FIELD takes the name of a field, and only FIELD does")
        if form == "FIELD":
            return Operand(f"state_field({state}, {name!r}, {options[1]!r})", Kind.VALUE, length=command.length)
        if form == "PLAIN":
            return Operand(f"state_text({state}, {name!r})", length=command.length)
        in_text = Operand(f"state_json({state}, {name!r}, camel=True)", Kind.JSON, length=command.length)
        return Operand(f"state_json({state}, {name!r})", Kind.JSON, length=command.length, in_text=in_text)

    return build


def _environment(command: Command, scope: Scope) -> str:
    value = latin(scope.context.environment.get(_required(command), "-"))
    return value if command.length is None else value[: command.length]


def _hostname(command: Command, scope: Scope) -> str:
    _no_length(command)
    return latin(scope.context.hostname) or "-"


def _unique_id(command: Command, scope: Scope) -> Operand:
    return Operand(f"{scope.bind(scope.context.unique_id)}()", absent=Absent.NEVER)


def _grpc_status(command: Command, scope: Scope) -> Operand:
    forms = ("CAMEL_STRING", "SNAKE_STRING", "NUMBER")
    form = _one_of("the form", command.argument or "CAMEL_STRING", forms)
    if form == "NUMBER":
        return Operand("grpc_status(info)", Kind.NUMBER)
    return Operand(f"grpc_status_name(info, {form == 'SNAKE_STRING'})")


def _requested_server_name(command: Command, scope: Scope) -> Operand:
    prefer, _, host = (command.argument or "").partition(":")
    _one_of("the preference", prefer or "SNI_ONLY", ("SNI_ONLY", "SNI_FIRST", "HOST_FIRST"))
    which = _one_of("the host option", host or "ORIG_OR_HOST", ("ORIG_OR_HOST", "HOST", "ORIG"))
    name = "connection.requested_server_name"
    original = "request_fields.get('x-envoy-original-host', '')"
    source = {"HOST": "request.authority", "ORIG": original}.get(which, f"({original} or request.authority)")
    if prefer == "SNI_FIRST":
        name = f"({name} or {source})"
    elif prefer == "HOST_FIRST":
        name = f"({source} or {name})"
    return Operand(name, absent=Absent.EMPTY, length=command.length)


def _response_code_details(command: Command, scope: Scope) -> Operand:
    _no_length(command)
    source = "info.details" if command.argument == "ALLOW_WHITESPACES" else "underscored(info.details)"
    return Operand(source, absent=Absent.EMPTY)


def _expression(command: Command, scope: Scope) -> Operand:
    from meshproxy.cel.expression import compile_text  # few formats have expressions

    evaluate = compile_text(_required(command), scope.context.surroundings)
    return Operand(f"{scope.bind(evaluate)}(info)", length=command.length)


def _typed_expression(command: Command, scope: Scope) -> Operand:
    from meshproxy.cel.expression import compile_plain  # as above

    evaluate = compile_plain(_required(command), scope.context.surroundings)
    in_text = _expression(command, scope)
    return Operand(f"{scope.bind(evaluate)}(info)", Kind.VALUE, length=command.length, in_text=in_text)


BUILDERS: dict[str, Builder] = {
    "CEL": _expression,
    "CLUSTER_METADATA": _metadata_builder("CLUSTER"),
    "COMMON_DURATION": _common_duration,
    "DOWNSTREAM_PEER_CERT_V_END": _time_builder("tls.peer_not_after", True, DEFAULT_UTC, True),
    "DOWNSTREAM_PEER_CERT_V_START": _time_builder("tls.peer_not_before", True, DEFAULT_UTC, True),
    "DYNAMIC_METADATA": _metadata_builder("DYNAMIC"),
    "EMIT_TIME": _time_builder("wall()", True, DEFAULT_UTC),
    "EMIT_TIME_LOCAL": _time_builder("wall()", False, DEFAULT_LOCAL),
    "ENVIRONMENT": _environment,
    "FILTER_STATE": _filter_state_builder("info.known_state"),
    "GRPC_STATUS": _grpc_status,
    "HOSTNAME": _hostname,
    "METADATA": _metadata,
    "PATH": _path,
    "QUERY_PARAM": _query_parameter,
    "QUERY_PARAMS": _query_parameters,
    "REQ": _request_header,
    "REQUESTED_SERVER_NAME": _requested_server_name,
    "REQUEST_HEADER": _request_header,
    "RESP": _response_header,
    "RESPONSE_CODE_DETAILS": _response_code_details,
    "RESPONSE_HEADER": _response_header,
    "RESPONSE_TRAILER": _response_trailer,
    "START_TIME": _time_builder("info.start_wall", True, DEFAULT_UTC),
    "START_TIME_LOCAL": _time_builder("info.start_wall", False, DEFAULT_LOCAL),
    "STREAM_INFO_REQ": _request_header,
    "TRAILER": _response_trailer,
    "TYPED_CEL": _typed_expression,
    "UNIQUE_ID": _unique_id,
    "UPSTREAM_FILTER_STATE": _filter_state_builder("info.upstream_filter_state"),
    "UPSTREAM_METADATA": _metadata_builder("UPSTREAM_HOST"),
    "UPSTREAM_PEER_CERT_V_END": _time_builder("upstream_tls.peer_not_after", True, DEFAULT_UTC, True),
    "UPSTREAM_PEER_CERT_V_START": _time_builder("upstream_tls.peer_not_before", True, DEFAULT_UTC, True),
    "XFCC_VALUE": _xfcc_value,
}  # fmt: skip

# Operators that exist once the format's `formatters` name the extension that brings them.
EXTENSION_BUILDERS: dict[str, Builder] = {"REQ_WITHOUT_QUERY": _header_without_query}


def coalesce_commands(command: Command) -> list[Command]:
    """The operators of `%COALESCE({"operators": [...]})%`, of which the first that has a value counts."""
    try:
        operators = json.loads(_required(command)).get("operators")
    except (json.JSONDecodeError, AttributeError) as error:
        raise ValueError(f"COALESCE takes a JSON object: {error}") from None
    if not isinstance(operators, list) or not operators:
        raise ValueError("COALESCE needs a list 'operators' that isn't empty")
    commands = []
    for operator in operators:
        fields = {"command": operator} if isinstance(operator, str) else operator
        if not isinstance(fields, dict) or not isinstance(fields.get("command"), str):
            raise ValueError("an operator of COALESCE is a name or an object with 'command'")
        unknown = fields.keys() - {"command", "param", "max_length"}
        if unknown:
            raise ValueError(f"COALESCE knows no {sorted(unknown)[0]!r}")
        commands.append(Command(fields["command"], fields.get("param"), fields.get("max_length"), command.position))
    return commands
