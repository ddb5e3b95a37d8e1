"""Which program this is."""

from __future__ import annotations

import functools

HOT_RESTART_VERSION = "meshproxy.1"
"""Processes with the same one can take over from each other."""


@functools.cache
def version() -> str:
    """The version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    try:
        return of("meshproxy")
    except PackageNotFoundError:
        return "0.0.0"


@functools.cache
def tls_library() -> str:
    """Such as `OpenSSL-3.5.9`; its version decides what a handshake costs. `ssl` is imported for who asks alone."""
    import ssl

    return "-".join(ssl.OPENSSL_VERSION.split()[:2])


def full_version() -> str:
    """As Envoy writes its own: who, version, state of the source, kind of build, TLS library."""
    return f"meshproxy/{version()}/Clean/RELEASE/{tls_library()}"


def hot_restart_version(disabled: bool) -> str:
    """What the admin interface and `--hot-restart-version` say of it."""
    return "disabled" if disabled else HOT_RESTART_VERSION
