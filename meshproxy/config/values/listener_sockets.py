"""What a listener says about its sockets (envoy.config.listener.v3.Listener, core.v3.SocketOption)."""

from __future__ import annotations

from typing import Any

from meshproxy.address import BoundAddress, InternalAddress
from meshproxy.config.values.addresses import compile_bound_address
from meshproxy.config.values.context import CompileContext
from meshproxy.plugin.view import ConfigView

SocketOption = tuple[int, int, int | bytes]
"""Level, name and value, as `setsockopt` takes them."""

_IPPROTO_TCP = 6
_TCP_FASTOPEN = 23
_SOL_SOCKET, _SO_KEEPALIVE, _TCP_KEEPIDLE, _TCP_KEEPINTVL, _TCP_KEEPCNT = 1, 9, 4, 5, 6
_OF_SOCKETS = ("connection_balance_config", "enable_reuse_port", "tcp_backlog_size", "tcp_fast_open_queue_length")
_SWITCHES = ("enable_mptcp", "freebind", "transparent")
_BEFORE_BIND = "STATE_PREBIND"


def compile_socket_options(view: ConfigView, field: str) -> tuple[SocketOption, ...]:
    """A repeated `core.v3.SocketOption` for sockets that never listen. Raises ConfigError for other states."""
    for entry in view.views(field):
        if entry.enum("state") != _BEFORE_BIND:
            entry.fail("only STATE_PREBIND is supported by meshproxy", "state")
    return _of_state(view, field, before=True)


def _of_state(view: ConfigView, field: str, *, before: bool) -> tuple[SocketOption, ...]:
    """Those set before bind, or all that are set after it."""
    options: list[SocketOption] = []
    for entry in view.views(field):
        if (entry.enum("state") == _BEFORE_BIND) == before and _for_streams(entry):
            value = entry.data("buf_value") if entry.which("value") == "buf_value" else entry.integer("int_value")
            options.append((entry.integer("level"), entry.integer("name"), value))
    return tuple(options)


def _for_streams(option: ConfigView) -> bool:
    """Whether it is meant for stream sockets: for all, or for those alone."""
    kind = option.view("type")
    wanted = kind is None or kind.has("stream") or not kind.has("datagram")
    if not wanted:
        option.raw()
    return wanted


def compile_internal_address(view: ConfigView, context: CompileContext) -> InternalAddress:
    """The address of a listener that has no sockets. Raises ConfigError for what is said of sockets."""
    name = view.text("name")
    if context.internal_buffer is None:
        view.fail(f"error adding listener named '{name}': InternalListener bootstrap extension is mandatory", "name")
    for field in ("address", "additional_addresses"):
        if view.has(field):
            view.fail(
                f"error adding listener '{name}': address should not be used when an internal listener config is "
                "provided",
                field,
            )
    said = [field for field in _OF_SOCKETS if view.has(field)] + [field for field in _SWITCHES if view.boolean(field)]
    if said:
        view.fail(f"error adding listener named '{name}': has unsupported tcp listener feature", said[0])
    if view.views("socket_options"):
        view.fail(f"error adding listener named '{name}': does not support socket option", "socket_options")
    view.boolean("bind_to_port")
    view.boolean("use_original_dst")
    return InternalAddress(name)


def _keepalive(view: ConfigView) -> tuple[SocketOption, ...]:
    """`tcp_keepalive`: accepted sockets have what the listening one has."""
    keepalive = view.view("tcp_keepalive")
    if keepalive is None:
        return ()
    options: list[SocketOption] = [(_SOL_SOCKET, _SO_KEEPALIVE, 1)]
    for field, option in (
        ("keepalive_probes", _TCP_KEEPCNT),
        ("keepalive_time", _TCP_KEEPIDLE),
        ("keepalive_interval", _TCP_KEEPINTVL),
    ):
        number = keepalive.integer(field)
        if number:
            options.append((_IPPROTO_TCP, option, number))
    return tuple(options)


def compile_listening_sockets(view: ConfigView) -> dict[str, Any]:
    """The fields of the model's `Listener` that its sockets are opened by. Raises ConfigError."""
    bind = view.boolean("bind_to_port", True)
    older = view.view("deprecated_v1")
    if older is not None:
        bind = older.boolean("bind_to_port", True) and bind
    queue = view.integer("tcp_fast_open_queue_length", -1)
    fast_open = ((_IPPROTO_TCP, _TCP_FASTOPEN, queue),) if queue >= 0 else ()
    inherited = (*fast_open, *_keepalive(view))
    additional: list[BoundAddress] = []
    own: dict[BoundAddress, tuple[tuple[SocketOption, ...], tuple[SocketOption, ...]]] = {}
    for entry in view.views("additional_addresses"):
        address = compile_bound_address(entry.required("address"))
        additional.append(address)
        override = entry.view("socket_options")
        if override is not None:
            field = "socket_options"
            later = (*_of_state(override, field, before=False), *inherited)
            own[address] = _of_state(override, field, before=True), later
    return {
        "bind_to_port": bind,
        "transparent": view.boolean("transparent"),
        "freebind": view.boolean("freebind"),
        "reuse_port": view.boolean("enable_reuse_port", True),
        "tcp_backlog_size": view.integer("tcp_backlog_size", 4096),
        "mptcp": view.boolean("enable_mptcp"),
        "socket_options": _of_state(view, "socket_options", before=True),
        "later_socket_options": (*_of_state(view, "socket_options", before=False), *inherited),
        "additional_addresses": tuple(additional),
        "additional_options": own,
    }
