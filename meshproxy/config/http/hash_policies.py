"""What a request is hashed by, for RING_HASH and MAGLEV (envoy.config.route.v3.RouteAction.HashPolicy)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshproxy.config.matching.matchers import compile_regex_replacer
from meshproxy.cookies import parse_cookies
from meshproxy.hashing import xxhash64
from meshproxy.model.route import HashPolicy
from meshproxy.plugin.stream_info import HashableString, StreamInfo, split_address
from meshproxy.plugin.view import ConfigView

_Part = Callable[[StreamInfo], int | None]


def compile_hash_policies(views: Sequence[ConfigView]) -> HashPolicy | None:
    """One function for the whole list, None for an empty one. Raises ConfigError."""
    parts = [(_compile_part(view), view.boolean("terminal")) for view in views]
    if not parts:
        return None

    def apply(stream: StreamInfo) -> None:
        found: int | None = None
        for part, terminal in parts:
            number = part(stream)
            if number is not None:
                found = number if found is None else (found << 1 & 0xFFFFFFFFFFFFFFFF | found >> 63) ^ number
            if terminal and found is not None:
                break
        stream.lb_hash = found

    return apply


def _compile_part(view: ConfigView) -> _Part:
    kind = view.which("policy_specifier")
    if kind == "header":
        return _compile_header(view.required(kind))
    if kind == "cookie":
        return _compile_cookie(view.required(kind))
    if kind == "connection_properties":
        by_source = view.required(kind).boolean("source_ip")
        return _source_ip if by_source else _nothing
    if kind == "query_parameter":
        return _compile_query(view.required(kind))
    if kind == "filter_state":
        return _compile_filter_state(view.required(kind))
    view.fail(f"'{kind}' isn't supported by meshproxy", kind or "")


def _nothing(stream: StreamInfo) -> None:
    return None


def _source_ip(stream: StreamInfo) -> int | None:
    ip = split_address(stream.remote_address or stream.connection.remote_address)[0]
    return xxhash64(ip.encode("latin-1")) if ip else None


def _compile_header(view: ConfigView) -> _Part:
    name = view.text("header_name").lower()
    rewrite_view = view.view("regex_rewrite")
    rewrite = compile_regex_replacer(rewrite_view) if rewrite_view is not None else None
    pseudo = {":path": "path", ":authority": "authority", "host": "authority", ":method": "method"}.get(name)

    def by_header(stream: StreamInfo) -> int | None:
        request = stream.request
        if request is None:
            return None
        values = [getattr(request, pseudo)] if pseudo else sorted(request.get_all(name))
        if not values:
            return None
        if rewrite is not None:
            values = sorted(rewrite(value) for value in values)
        number = 0
        for value in values:
            number = xxhash64(value.encode("latin-1"), number)
        return number

    return by_header


def _compile_filter_state(view: ConfigView) -> _Part:
    key = view.text("key")

    def by_state(stream: StreamInfo) -> int | None:
        value = stream.filter_state.get(key) if stream.filter_state is not None else None
        return xxhash64(value.encode("latin-1", "replace")) if isinstance(value, HashableString) else None

    return by_state


def _compile_query(view: ConfigView) -> _Part:
    name = view.text("name")

    def by_parameter(stream: StreamInfo) -> int | None:
        query = stream.request.path.partition("?")[2].partition("#")[0] if stream.request is not None else ""
        for pair in query.split("&"):
            key, _, value = pair.partition("=")
            if key == name:
                return xxhash64(value.encode("latin-1"))
        return None

    return by_parameter


def _compile_cookie(view: ConfigView) -> _Part:
    name, path = view.text("name"), view.text("path")
    ttl = view.duration("ttl")
    attributes = "".join(
        f"; {entry.text('name')}" + (f"={entry.text('value')}" if entry.text("value") else "")
        for entry in view.views("attributes")
    )
    ending = (f"; Max-Age={int(ttl)}" if ttl else "") + (f"; Path={path}" if path else "") + attributes + "; HttpOnly"

    def by_cookie(stream: StreamInfo) -> int | None:
        value = parse_cookies(stream.request).get(name, "") if stream.request is not None else ""
        if not value:
            if ttl is None:
                return None
            # The same for all requests of a connection: several may come before the first answer has.
            addresses = stream.connection.remote_address + stream.connection.local_address
            value = f"{xxhash64(addresses.encode('latin-1')):016x}"
            stream.lb_cookies = (*stream.lb_cookies, f'{name}="{value}"{ending}')
        return xxhash64(value.encode("latin-1"))

    return by_cookie
