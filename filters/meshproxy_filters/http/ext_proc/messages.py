"""What an external processor is told, and what becomes of its answers (`envoy.service.ext_proc.v3`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders, check_name, check_value
from meshproxy.plugin.replies import LocalReply
from meshproxy_filters.mutation_rules import PSEUDO, MutationRules, set_pseudo

Names = Callable[[str], bool]


def tell_headers(told: Any, headers: Headers, wanted: Names) -> None:
    """Fill a `HeaderMap`: pseudo-fields first, values as bytes."""
    pseudo: list[tuple[str, str]] = []
    if isinstance(headers, RequestHeaders):
        pseudo = [(":authority", headers.authority), (":path", headers.path), (":method", headers.method)]
        pseudo.append((":scheme", headers.scheme))
    elif isinstance(headers, ResponseHeaders):
        pseudo = [(":status", str(headers.status))]
    add = told.headers.add  # whose look-up costs as much as its call
    for name, value in (*pseudo, *headers.items()):
        if wanted(name) and (value or not name.startswith(":")):
            add(key=name, raw_value=value.encode("latin-1"))


def tell_metadata(message: ProcessingRequest, known: Mapping[str, Any] | None, namespaces: Sequence[str]) -> None:
    """The dynamic metadata of these namespaces."""
    message.metadata_context.SetInParent()
    for namespace in namespaces:
        if known and namespace in known:
            message.metadata_context.filter_metadata[namespace].update(known[namespace])


class Rejected(Exception):
    """A change that can't be made, or that the rules don't allow, where that is an error; the text is Envoy's name of
    it."""


def change_headers(headers: Headers, mutation: Any, rules: MutationRules) -> int:
    """Apply a `HeaderMutation`: fields are set, or added with `append`. Returns how many changes were passed over.

    Raises Rejected.
    """
    rejected = 0
    for name in mutation.remove_headers:
        lowered = name.lower()
        if rules.may_remove(lowered):
            headers.remove(lowered)
        elif rules.fails:
            raise Rejected("header_mutation_remove_headers_failed")
        else:
            rejected += 1
    for option in mutation.set_headers:
        if _set(headers, option, rules):
            continue
        if rules.fails:
            raise Rejected("header_mutation_set_headers_failed")
        rejected += 1
    return rejected


def _set(headers: Headers, option: Any, rules: MutationRules) -> bool:
    name = option.header.key.lower()
    try:
        value = check_value(option.header.raw_value.decode("latin-1"))
        if not name.startswith(":"):
            check_name(name)
    except ValueError:
        raise Rejected("header_mutation_set_contains_invalid_character") from None
    if not rules.may_set(name):
        return False
    if name in PSEUDO:
        return set_pseudo(headers, name, value)
    if not (option.HasField("append") and option.append.value):
        headers.remove(name)
    headers.append_checked(name, value)
    return True


def immediate_reply(message: Any, rules: MutationRules) -> tuple[LocalReply, int]:
    """An `ImmediateResponse`, and how many of its changes were passed over."""
    status = message.status.code if 200 <= message.status.code <= 599 else 200
    headers = ResponseHeaders(status)
    try:
        rejected = change_headers(headers, message.headers, rules)
    except Rejected:
        rejected = 1
    grpc_status = message.grpc_status.status if message.HasField("grpc_status") else None
    reply = LocalReply(
        status,
        bytes(message.body) if isinstance(message.body, bytes) else message.body.encode(),
        headers=tuple(headers.items()),
        details="_".join(re.split(r"\s", message.details)),
        grpc_status=grpc_status,
    )
    return reply, rejected


def changed_body(mutation: Any, body: bytes) -> bytes:
    """What a `BodyMutation` makes of a body."""
    kind = mutation.WhichOneof("mutation")
    if kind == "body":
        return bytes(mutation.body)
    return b"" if kind == "clear_body" and mutation.clear_body else body
