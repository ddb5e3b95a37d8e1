"""What to say about a name that isn't known: the nearest that is."""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 12

# Extension points whose answer in meshproxy is a Python filter, by the package of their configuration message.
_SCRIPTED = {
    "envoy.extensions.filters.http.lua.": "Lua",
    "envoy.extensions.filters.http.wasm.": "Wasm",
    "envoy.extensions.filters.network.wasm.": "Wasm",
    "envoy.extensions.wasm.": "Wasm",
    "envoy.extensions.filters.http.golang.": "Go",
    "envoy.extensions.filters.network.golang.": "Go",
    "envoy.extensions.filters.http.dynamic_modules.": "a dynamic module",
}

# Other extensions of Envoy's that there are not, and what may do instead.
_NETWORK = "envoy.extensions.filters.network."
_HTTP = "envoy.extensions.filters.http."
_NOT_DECODED = "its protocol isn't decoded; tcp_proxy carries it"
_NOT_TRANSLATED = "the messages of gRPC aren't decoded; write the filter as a Python class"
_ABSENT = {
    **dict.fromkeys(
        (
            *(f"{_NETWORK}{name}_proxy." for name in ("redis", "mysql", "postgres", "thrift", "dubbo", "zookeeper")),
            *(f"{_NETWORK}{name}." for name in ("kafka_broker", "kafka_mesh", "rocketmq_proxy", "generic_proxy")),
        ),
        _NOT_DECODED,
    ),
    **dict.fromkeys((f"{_HTTP}aws_lambda.", f"{_HTTP}aws_request_signing."), "requests aren't signed for AWS"),
    **dict.fromkeys(
        (
            *(f"{_HTTP}grpc_json_{name}transcoder." for name in ("", "reverse_")),
            *(
                f"{_HTTP}{name}."
                for name in ("proto_message_extraction", "proto_api_scrubber", "grpc_field_extraction")
            ),
        ),
        _NOT_TRANSLATED,
    ),
    f"{_HTTP}rate_limit_quota.": "quotas aren't assigned from outside; local_ratelimit and ratelimit limit rates",
    f"{_HTTP}tap.": "messages aren't recorded; access logs and traces tell of them",
    f"{_HTTP}geoip.": "there is no database of places",
    f"{_HTTP}cache.": "responses aren't kept",
}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `name` was probably meant to be; None when none is near."""
    candidates = {candidate.lower(): candidate for candidate in known}
    import difflib  # for errors alone

    found = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=0.6)
    return candidates[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, to be put behind a message; empty when nothing is near."""
    candidate = nearest(name, known)
    return f"; did you mean '{candidate}'?" if candidate else ""


def unsupported_extension(full_name: str, known: Iterable[str]) -> str:
    """The message for an extension that nothing here implements.

    full_name: of its configuration message. known: the full names that are implemented. Scripted extensions (Lua,
    Wasm) get the advice that applies to them, and those of Envoy's that are left out on purpose the reason; for others
    the nearest known name, or the list, is given.
    """
    for prefix, language in _SCRIPTED.items():
        if full_name.startswith(prefix):
            return (
                f"'{full_name}' isn't supported: meshproxy runs no {language} code; write the filter as a Python class "
                "(meshproxy.plugin.HttpFilter) and configure it with xds.type.v3.TypedStruct"
            )
    for prefix, reason in _ABSENT.items():
        if full_name.startswith(prefix):
            return f"'{full_name}' isn't supported by meshproxy: {reason}"
    names = sorted(known)
    candidate = nearest(full_name, names)
    if candidate:
        return f"unknown extension '{full_name}'; did you mean '{candidate}'?"
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"unknown extension '{full_name}'" + (f"; known are {shown}" if shown else "")
