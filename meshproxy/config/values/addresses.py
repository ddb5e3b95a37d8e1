"""Addresses and address ranges of the configuration (envoy.config.core.v3.Address, CidrRange)."""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.address import (
    Address,
    BoundAddress,
    CidrRange,
    CidrSet,
    InternalAddress,
    PipeAddress,
    SocketAddress,
    make_address,
)
from meshproxy.errors import ConfigError, Problem
from meshproxy.plugin.view import ConfigView

_IP_RESOLVER = "envoy.ip"
_MAX_PIPE_BYTES = 107  # sockaddr_un.sun_path, its final NUL left out


def compile_address(view: ConfigView, *, udp: bool = False) -> Address:
    """`core.v3.Address` with an IP address, the path of a Unix socket or an internal listener. Raises ConfigError.

    udp: it is one that datagrams go to, whatever its `protocol` says.
    """
    kind = view.which("address")
    if kind == "socket_address":
        return compile_socket_address(view.required("socket_address"), udp=udp)
    if kind == "pipe":
        return _compile_pipe(view.required("pipe"))
    if kind == "envoy_internal_address":
        internal = view.required("envoy_internal_address")
        return InternalAddress(internal.text("server_listener_name"), internal.text("endpoint_id"))
    if kind is None:
        view.fail("an address is required")
    view.fail(f"'{kind}' isn't supported by meshproxy", kind)


def compile_bound_address(view: ConfigView, *, udp: bool = False) -> BoundAddress:
    """The same without internal listeners."""
    address = compile_address(view, udp=udp)
    if isinstance(address, InternalAddress):
        view.fail("an internal listener isn't supported here", "envoy_internal_address")
    return address


def compile_socket_address(view: ConfigView, *, udp: bool = False) -> SocketAddress:
    """`core.v3.SocketAddress` with an IP address. Raises ConfigError for names and whatever else it is."""
    host, port = compile_host_and_port(view, udp=udp)
    try:
        return make_address(host, port)
    except ValueError:
        view.fail(f"malformed IP address: '{host}'", "address")


def compile_host_and_port(view: ConfigView, *, udp: bool = False) -> tuple[str, int]:
    """Address and port of a `SocketAddress`, not looked into: it may be a name to be resolved. Raises ConfigError."""
    problems: list[Problem] = view.unsupported("named_port", "network_namespace_filepath")
    if view.text("resolver_name") not in ("", _IP_RESOLVER):
        problems.append(view.error(f"Unknown address resolver: {view.text('resolver_name')}", "resolver_name"))
    if view.enum("protocol") != "TCP" and not udp:
        problems.append(view.error("only TCP is supported", "protocol"))
    if problems:
        raise ConfigError(problems)
    return view.text("address"), view.integer("port_value")


def _compile_pipe(view: ConfigView) -> PipeAddress:
    path = view.text("path")
    if len(path.encode()) > _MAX_PIPE_BYTES:
        view.fail(f"the path of a Unix socket can't be longer than {_MAX_PIPE_BYTES} bytes", "path")
    mode = view.integer("mode")
    if mode and path.startswith("@"):
        view.fail("an abstract Unix socket has no mode", "mode")
    return PipeAddress(path, mode)


def compile_ranges(view: ConfigView, field: str) -> tuple[CidrRange, ...]:
    """A repeated `core.v3.CidrRange`. Raises ConfigError for all that are malformed."""
    ranges, problems = [], []
    for entry in view.views(field):
        address = entry.text("address_prefix")
        # Without `prefix_len` Envoy takes 0, the whole family; one that is too long it cuts to the family's width.
        length = min(entry.integer("prefix_len"), 128 if ":" in address else 32)
        try:
            ranges.append(CidrRange.parse(address, length))
        except ValueError as error:
            problems.append(entry.error(f"malformed address range: {error}"))
    if problems:
        raise ConfigError(problems)
    return tuple(ranges)


def compile_range_set(view: ConfigView, field: str) -> CidrSet:
    """The same, of which only membership will be asked."""
    return CidrSet(compile_ranges(view, field))


def compile_address_matcher(view: ConfigView) -> Callable[[str], bool]:
    """`type.matcher.v3.AddressMatcher`: whether an IP is in one of its ranges, or in none. Raises ConfigError."""
    ranges, inverted = compile_range_set(view, "ranges"), view.boolean("invert_match")
    return lambda ip: (ip in ranges) is not inverted
