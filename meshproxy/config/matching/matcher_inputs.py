"""What a matcher tree can look at: its inputs, from a typed configuration to a function of the stream.

An input gives a text, or None where the stream has none; the one for metadata gives any value of JSON, or `ABSENT`.
Which inputs there are depends on where the tree stands: for a connection there is no request.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import unquote

from meshproxy.config.matching.stream_matchers import find_value
from meshproxy.matching import header_getter, wire_text
from meshproxy.plugin.stream_info import StreamInfo, split_address
from meshproxy.plugin.view import ConfigView, TypedView
from meshproxy.suggest import unsupported_extension

Input = Callable[[Any], Any]
"""From the stream to a text, or None."""

CEL_INPUT = "xds.type.matcher.v3.HttpAttributesCelMatchInput"
METADATA_INPUT = "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput"

FILTER_STATE_INPUT = "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput"

_NETWORK = "envoy.extensions.matching.common_inputs.network.v3."
_TLS = "envoy.extensions.matching.common_inputs.ssl.v3."
_HTTP = "envoy.type.matcher.v3."


def _header(view: ConfigView, read: Callable[[StreamInfo], Any]) -> Input:
    get = header_getter(view.text("header_name"))
    return lambda info: None if (headers := read(info)) is None else get(headers)


def _query_parameter(view: ConfigView) -> Input:
    name = wire_text(view.text("query_param"))

    def read(info: StreamInfo) -> str | None:
        _, mark, query = (info.request.path if info.request is not None else "").partition("?")
        for field in query.partition("#")[0].split("&") if mark else ():
            key, _, value = field.partition("=")
            if unquote(key, "latin-1") == name:
                return unquote(value, "latin-1")
        return None

    return read


def _status(info: StreamInfo) -> str | None:
    return str(info.response.status) if info.response is not None else None


def _status_class(info: StreamInfo) -> str | None:
    if info.response is None or not 100 <= info.response.status < 600:
        return None
    return f"{info.response.status // 100}xx"


def _remote(info: StreamInfo) -> str:
    return info.remote_address or info.connection.remote_address


def _port(address: str) -> str | None:
    ip, port = split_address(address)
    return str(port) if port or (ip and ip != address) else None


def _source_type(info: StreamInfo) -> str | None:
    source, local = split_address(_remote(info))[0], info.connection.local_ip
    return "local" if source == local or source.startswith("127.") or source == "::1" else None


def _filter_state(view: ConfigView) -> Input:
    key = view.text("key")

    def read(info: StreamInfo) -> str | None:
        state = info.known_state
        value = state.get(key) if state else None
        return None if value is None else wire_text(str(value))

    return read


def _metadata(view: ConfigView) -> Input:
    keys = (view.text("filter"), *(segment.text("key") for segment in view.views("path")))

    return lambda info: find_value(info.dynamic_metadata, keys)


def _names(names: tuple[str, ...]) -> str | None:
    return ",".join(names) if names else None


def _of_tls(read: Callable[[Any], str | None]) -> Callable[[ConfigView], Input]:
    return lambda view: lambda info: None if (tls := info.connection.tls) is None else read(tls)


def _environment(view: ConfigView) -> Input:
    value = os.environ.get(view.text("name"))
    text = None if value is None else wire_text(value)
    return lambda info: text


def _nothing_to_read(read: Input) -> Callable[[ConfigView], Input]:
    return lambda view: read


NETWORK_INPUTS: Mapping[str, Callable[[ConfigView], Input]] = {
    _NETWORK + "DestinationIPInput": _nothing_to_read(lambda info: info.connection.local_ip or None),
    _NETWORK + "DestinationPortInput": _nothing_to_read(lambda info: _port(info.connection.local_address)),
    _NETWORK + "SourceIPInput": _nothing_to_read(lambda info: split_address(_remote(info))[0] or None),
    _NETWORK + "SourcePortInput": _nothing_to_read(lambda info: _port(_remote(info))),
    _NETWORK + "DirectSourceIPInput": _nothing_to_read(lambda info: info.connection.direct_remote_ip or None),
    _NETWORK + "SourceTypeInput": _nothing_to_read(_source_type),
    _NETWORK + "ServerNameInput": _nothing_to_read(lambda info: info.connection.requested_server_name or None),
    FILTER_STATE_INPUT: _filter_state,
    _TLS + "UriSanInput": _of_tls(lambda tls: _names(tls.peer_uri_sans)),
    _TLS + "DnsSanInput": _of_tls(lambda tls: _names(tls.peer_dns_sans)),
    _TLS + "SubjectInput": _of_tls(lambda tls: tls.peer_subject or None),
    METADATA_INPUT: _metadata,
    "envoy.extensions.matching.common_inputs.environment_variable.v3.Config": _environment,
}

CHAIN_INPUTS: Mapping[str, Callable[[ConfigView], Input]] = {
    **{name: read for name, read in NETWORK_INPUTS.items() if name not in (METADATA_INPUT, FILTER_STATE_INPUT)},
    _NETWORK + "TransportProtocolInput": _nothing_to_read(lambda info: info.connection.transport or None),
    _NETWORK + "ApplicationProtocolInput": _nothing_to_read(lambda info: info.connection.alpn or None),
}

HTTP_INPUTS: Mapping[str, Callable[[ConfigView], Input]] = {
    **NETWORK_INPUTS,
    _HTTP + "HttpRequestHeaderMatchInput": lambda view: _header(view, lambda info: info.request),
    _HTTP + "HttpRequestTrailerMatchInput": lambda view: _header(view, lambda info: info.request_trailers),
    _HTTP + "HttpResponseHeaderMatchInput": lambda view: _header(view, lambda info: info.response),
    _HTTP + "HttpResponseTrailerMatchInput": lambda view: _header(view, lambda info: info.response_trailers),
    _HTTP + "HttpRequestQueryParamMatchInput": _query_parameter,
    _HTTP + "HttpResponseStatusCodeMatchInput": _nothing_to_read(_status),
    _HTTP + "HttpResponseStatusCodeClassMatchInput": _nothing_to_read(_status_class),
    CEL_INPUT: _nothing_to_read(lambda info: info),
}


def http_inputs(allowed: Collection[str]) -> Mapping[str, Callable[[ConfigView], Input]]:
    """Those of `HTTP_INPUTS` with one of these names; all of them for no names."""
    return {name: HTTP_INPUTS[name] for name in allowed} if allowed else HTTP_INPUTS


def compile_input(extension: ConfigView, known: Mapping[str, Callable[[ConfigView], Input]]) -> tuple[str, Input]:
    """An input's type and the function. known: those that there are here. Raises ConfigError."""
    typed = typed_of(extension)
    compiler = known.get(typed.full_name)
    if compiler is None or typed.view is None:
        typed.fail(unsupported_extension(typed.full_name, known))
    return typed.full_name, compiler(typed.view)


def typed_of(extension: ConfigView) -> TypedView:
    """The configuration in a `TypedExtensionConfig`. Raises ConfigError without one."""
    extension.text("name")
    typed = extension.any("typed_config")
    if typed is None:
        extension.fail("'typed_config' is required")
    return typed
