"""Bytes from a management server to a message that keeps its own rules.

As in Envoy, a message that breaks the API's rules on values (`validate.rules`) can't be decoded, and its whole response
is refused with it. What is packed inside (the configuration of filters, say) is checked by whoever compiles it, and
concerns one resource only.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError as ParseError

from meshproxy.config.clusters.alike_clusters import CheckedPatterns, patterned
from meshproxy.config.text.checked_routes import CheckedHosts
from meshproxy.config.text.constraints import check_unpacked
from meshproxy.config.text.plain_endpoints import plain_assignment
from meshproxy.messages.by_name import message_class, name_of_type_url
from meshproxy.model.discovery import CLUSTER, ENDPOINTS, ROUTES
from meshproxy.steps import Steps, finish
from meshproxy.xds.watch import DecodeError, Unpacked

_PATTERNS = CheckedPatterns()
_HOSTS = CheckedHosts()


def decode_resource(type_url: str, packed: bytes) -> Unpacked:
    """All steps of `decode_in_steps`. Raises DecodeError."""
    return finish(decode_in_steps(type_url, packed))


def decode_in_steps(type_url: str, packed: bytes) -> Steps[Unpacked]:
    """See `meshproxy.xds.watch.Decoder`. Raises DecodeError."""
    name = name_of_type_url(type_url)
    kind = message_class(name)
    if kind is None:
        raise DecodeError(f"unknown type '{type_url}'")
    message = kind()
    try:
        message.ParseFromString(packed)
    except ParseError:
        raise DecodeError(f"Unable to unpack as {name}") from None
    if type_url == ENDPOINTS:
        plain = plain_assignment(message)
        if plain is not None:
            return Unpacked(message, True, plain)
    if type_url == ROUTES:
        all_checked = yield from _HOSTS.check(message)
        if all_checked is not None:
            return Unpacked(message, all_checked)
    cluster = patterned(message) if type_url == CLUSTER else None
    if cluster is not None:
        checked = _PATTERNS.check(cluster)
        if checked is not None:
            return Unpacked(message, False, checked)
    problems, complete = check_unpacked(message)
    if problems:
        faults = ", ".join(f"{problem.path}: {problem.message}" for problem in problems)
        raise DecodeError(f"Proto constraint validation failed ({name.rpartition('.')[2]}: {faults})")
    if cluster is not None:
        _PATTERNS.keep(cluster)
    return Unpacked(message, complete, cluster)
