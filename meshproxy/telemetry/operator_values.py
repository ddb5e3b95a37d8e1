"""What the operators compute that is more than an attribute: pure functions from facts to a value, None for absent.

Text is Latin-1 text throughout, as header values are: one character for each byte of the log. What comes from the
configuration is Unicode and passes through `latin` first, so that it is logged in UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from json.encoder import encode_basestring  # escapes nothing beyond ASCII; in C
from operator import itemgetter
from typing import Any
from urllib.parse import unquote

from meshproxy.plugin.message_facts import response_grpc_status
from meshproxy.plugin.stream_info import StateFields, StateMessage, StreamInfo, split_address
from meshproxy.telemetry.json_numbers import number_text

_GRPC_STATUS = (
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
)
_BROKEN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


def latin(text: str) -> str:
    """Unicode text as the Latin-1 reading of its UTF-8 bytes."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("latin-1")


def quote(text: str) -> str:
    """Latin-1 text as a JSON string. Bytes that aren't UTF-8 are written \\u00XX, as Envoy does."""
    if text.isascii():
        return encode_basestring(text)
    try:
        text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return '"' + "".join([c if " " <= c <= "~" and c not in '"\\' else f"\\u{ord(c):04x}" for c in text]) + '"'
    except UnicodeEncodeError:
        text = latin(text)
    return encode_basestring(text)


def quote_or_null(text: str | None) -> str:
    return "null" if text is None else quote(text)


def quote_or_null_if_empty(text: str) -> str:
    return quote(text) if text else "null"


def millis_between(begin: float, end: float) -> int | None:
    """Whole milliseconds, cut off; None unless both points were reached, in this order."""
    if not begin or not end or end < begin:
        return None
    return int((end - begin) * 1000 + 0.0005)


def response_time(info: StreamInfo) -> int | None:
    """Whole milliseconds from the upstream's first byte to the last one sent on.

    Within a turn of the loop, whose clock stands still meanwhile, the two may seem to be in the wrong order.
    """
    begin, end = info.first_upstream_rx, info.last_downstream_tx
    return millis_between(begin, max(begin, end)) if end else None


def millis(seconds: float) -> int | None:
    """Whole milliseconds of a duration; None for a negative one, which stands for unknown."""
    return int(seconds * 1000 + 0.0005) if seconds >= 0 else None


def signed_millis(begin: float, end: float) -> int | None:
    """Whole milliseconds, cut off, below 0 where the end was first; None unless both points were reached."""
    return int((end - begin) * 1000) if begin and end else None


def duration_between(begin: float, end: float, per_second: int) -> int | None:
    """Like `millis_between`, in any unit."""
    if not begin or not end or end < begin:
        return None
    return int((end - begin) * per_second + 0.0005)


def keyed(key: str, text: str | None) -> str | None:
    """A member of a JSON object; `key` is quoted and ends with ":"."""
    return None if text is None else key + text


def object_or_none(text: str) -> str | None:
    return None if text == "{}" else text


def join_present(texts: Sequence[str | None]) -> str:
    return ",".join([text for text in texts if text is not None])


def json_of(value: Any) -> str:
    """A value as JSON: one line, keys sorted, null for None."""
    if isinstance(value, str):
        return quote(latin(value))
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, Mapping):
        members = sorted(((str(key), item) for key, item in value.items()), key=itemgetter(0))
        return f"{{{','.join([f'{quote(latin(key))}:{json_of(item)}' for key, item in members])}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(json_of, value))}]"
    return quote(latin(str(value)))


def text_of(value: Any) -> str:
    """A value as a text log prints it: a string bare, everything else as JSON."""
    return latin(value) if isinstance(value, str) else json_of(value)


def metadata_at(metadata: Mapping[str, Any] | None, path: tuple[str, ...]) -> Any:
    """What stands in `metadata` at the namespace path[0] and the keys after it."""
    value: Any = metadata
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def state_text(state: Mapping[str, object] | None, name: str) -> str | None:
    """A filter state object as plain text."""
    value = state.get(name) if state is not None else None
    return None if value is None or isinstance(value, StateFields) else latin(str(value))


def state_json(state: Mapping[str, object] | None, name: str, camel: bool = False) -> str | None:
    """A filter state object as JSON. camel: the names of a message's fields are as in JSON of protobuf."""
    value = state.get(name) if state is not None else None
    if isinstance(value, StateMessage):
        value = {_camel(name) if camel else name: each for name, each in value.fields().items()}
    return None if value is None or isinstance(value, StateFields) else json_of(value)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def state_field(state: Mapping[str, object] | None, name: str, field: str) -> Any:
    """A field of a filter state object: an item of a mapping, or a public attribute."""
    value = state.get(name) if state is not None else None
    if isinstance(value, Mapping):
        return value.get(field)
    if isinstance(value, StateFields):
        found = None if field.startswith("_") else getattr(value, field, None)
        return None if found is None else str(found)  # a text in JSON too, as in Envoy
    return None if field.startswith("_") or isinstance(value, StateMessage) else getattr(value, field, None)


def hosts_attempted(info: StreamInfo) -> Sequence[str]:
    """Addresses of the hosts that were tried: of a connection all, of a request that of the last try, as in Envoy."""
    return (info.upstream_host,) if _is_of_request(info) else info.hosts_attempted


def host_names_attempted(info: StreamInfo) -> Sequence[str]:
    """As `hosts_attempted`; a host without a name goes by its address."""
    return (info.upstream_host_name or info.upstream_host,) if _is_of_request(info) else info.host_names_attempted


def connection_ids_attempted(info: StreamInfo) -> Sequence[int]:
    """As `hosts_attempted`."""
    return (info.upstream_connection_id,) if _is_of_request(info) else info.connection_ids_attempted


def _is_of_request(info: StreamInfo) -> bool:
    return info.request is not None and bool(info.upstream_connection_id)


def without_query(path: str) -> str:
    return path.partition("?")[0]


def query_of(path: str | None, decoded: bool) -> str | None:
    """The query of a path, without "?"; None if there is none."""
    if path is None or "?" not in path:
        return None
    query = path.partition("?")[2]
    return unquote(_BROKEN_ESCAPE.sub("", query), "latin-1") if decoded else query


def query_parameter(path: str | None, name: str) -> str | None:
    """The first value of a query parameter, percent-decoded; "+" stays."""
    query = query_of(path, decoded=False)
    if query is None:
        return None
    for parameter in query.split("&"):
        key, _, value = parameter.partition("=")
        if unquote(key, "latin-1") == name:
            return unquote(value, "latin-1")
    return None


def grpc_status(info: StreamInfo) -> int | None:
    """The gRPC status of a gRPC request, None for others."""
    request = info.request
    if request is None or not is_grpc(request.fields.get("content-type")):
        return None
    return response_grpc_status(info)


def is_grpc(content_type: str | None) -> bool:
    return content_type is not None and (
        content_type == "application/grpc" or content_type.startswith("application/grpc+")
    )


def grpc_status_name(info: StreamInfo, snake: bool) -> str | None:
    """`grpc_status` by name; a number without a name is printed as a number."""
    status = grpc_status(info)
    if status is None:
        return None
    return _GRPC_STATUS[status][snake] if 0 <= status < len(_GRPC_STATUS) else str(status)


def network_of(address: str, bits: int) -> str:
    """The network of an address in so many bits, all of them at most, as "10.0.0.0/8"; below 0 the address alone."""
    ip = split_address(address)[0] or address
    try:
        parsed = ip_address(ip.strip("[]"))
    except ValueError:
        return ip
    return str(ip_network((parsed, min(bits, parsed.max_prefixlen)), strict=False)) if bits >= 0 else ip
