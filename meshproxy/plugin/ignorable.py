"""The one table of fields that meshproxy accepts without acting on them, each with the reason why that is safe.

A field may stand here only when leaving it out changes nothing that a user could rely on: it tunes something that
meshproxy doesn't have, describes the client to a server, or steers Envoy's own internals. A field that limits,
protects, routes or rewrites never does.
"""

from __future__ import annotations

from typing import Final

_TUNING = "tunes Envoy's event loop; what is observable from outside stays the same"
_IDENTITY = "says to a management server what the client is; meshproxy sends its own"
_SHUTDOWN = "steers Envoy's own watchdog and crash handling, of which meshproxy has none"

IGNORABLE: Final[dict[str, dict[str, str]]] = {
    "envoy.config.listener.v3.Listener": {
        "max_connections_to_accept_per_socket_event": _TUNING,
    },
    "envoy.config.core.v3.Node": {
        "user_agent_name": _IDENTITY,
        "user_agent_version": _IDENTITY,
        "user_agent_build_version": _IDENTITY,
    },
    "envoy.config.bootstrap.v3.Bootstrap": {
        "watchdog": _SHUTDOWN,
        "watchdogs": _SHUTDOWN,
        "perf_tracing_file_path": "a build of Envoy for profiling writes it",
    },
    "envoy.config.core.v3.TypedExtensionConfig": {
        "name": "a label; the extension is found by the type of its configuration, as in Envoy",
    },
    "envoy.config.core.v3.TransportSocket": {
        "name": "a label; the transport socket is found by the type of its configuration, as in Envoy",
    },
    "envoy.config.accesslog.v3.AccessLog": {
        "name": "a label; the logger is found by the type of its configuration, as in Envoy",
    },
    "envoy.config.trace.v3.Tracing.Http": {
        "name": "a label; the tracer is found by the type of its configuration, as in Envoy",
    },
}


def reason_to_ignore(full_name: str, field: str) -> str | None:
    """Why `field` of the message `full_name` may be set without effect; None when it may not."""
    fields = IGNORABLE.get(full_name)
    return fields.get(field) if fields else None
