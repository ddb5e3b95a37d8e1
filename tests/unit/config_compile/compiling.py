"""Compiling texts in tests: a context whose registry holds stand-ins for the filters that the texts name."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Mapping
from typing import Any

from meshproxy.clock import FakeClock
from meshproxy.config.bootstrap.bootstrap import compile_bootstrap
from meshproxy.config.text.bootstrap_load import Source, load_bootstrap, load_message
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError
from meshproxy.headers import check_value
from meshproxy.model.listener import NO_EXTENSIONS, FormatExtensions, LineFormatter, TransportSocket
from meshproxy.model.route import ValueFormatter
from meshproxy.model.snapshot import Snapshot
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.http import HttpFilter, TerminalHttpFilter
from meshproxy.plugin.listener import ListenerFilter
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.registry import FilterRegistry
from meshproxy.plugin.view import ConfigView
from meshproxy.runtime_values import RuntimeValues


class _TakesAnything:
    """Keeps its message and reads all of it."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> Any:
        return view.raw()


class AnyHttp(_TakesAnything, HttpFilter[Any]): ...


class AnyRouter(_TakesAnything, TerminalHttpFilter[Any]): ...


class AnyNetwork(_TakesAnything, NetworkFilter[Any]): ...


class AnyTerminal(_TakesAnything, NetworkFilter[Any]):
    terminal = True


class AnyListener(_TakesAnything, ListenerFilter[Any]): ...


_HTTP = "envoy.extensions.filters.http."
_NETWORK = "envoy.extensions.filters.network."
_LISTENER = "envoy.extensions.filters.listener."
HCM = _NETWORK + "http_connection_manager.v3.HttpConnectionManager"
ROUTER = _HTTP + "router.v3.Router"
FAULT = _HTTP + "fault.v3.HTTPFault"
TCP_PROXY = _NETWORK + "tcp_proxy.v3.TcpProxy"

STAND_INS = FilterRegistry().with_classes(
    {
        ROUTER: AnyRouter,
        FAULT: AnyHttp,
        _HTTP + "rbac.v3.RBAC": AnyHttp,
        _HTTP + "cors.v3.Cors": AnyHttp,
        _HTTP + "grpc_stats.v3.FilterConfig": AnyHttp,
        HCM: AnyTerminal,
        TCP_PROXY: AnyTerminal,
        _NETWORK + "rbac.v3.RBAC": AnyNetwork,
        _LISTENER + "original_dst.v3.OriginalDst": AnyListener,
        _LISTENER + "original_src.v3.OriginalSrc": AnyListener,
        _LISTENER + "tls_inspector.v3.TlsInspector": AnyListener,
        _LISTENER + "http_inspector.v3.HttpInspector": AnyListener,
        _LISTENER + "proxy_protocol.v3.ProxyProtocol": AnyListener,
    }
)


class Formats:
    """Formats without operators' values: a text stands for itself, `%` makes it depend on the stream."""

    def measures(self) -> bool:
        return False

    def measures_routes(self) -> bool:
        return False

    def text(
        self, text: str, *, omit_empty_values: bool = False, extensions: FormatExtensions = NO_EXTENSIONS
    ) -> LineFormatter:
        return lambda stream: text

    def json(
        self, value: Mapping[str, Any], *, omit_empty_values: bool = False, extensions: FormatExtensions = NO_EXTENSIONS
    ) -> LineFormatter:
        return lambda stream: repr(value)

    def header(self, text: str) -> str | ValueFormatter:
        if text.count("%") % 2:
            raise ValueError("unbalanced %")
        return (lambda stream: text) if "%" in text else check_value(text)


class NoStats:
    """A scope that remembers its prefix."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    def scope(self, prefix: str) -> NoStats:
        return NoStats(self.prefix + prefix)

    def counter(self, name: str) -> Any: ...
    def gauge(self, name: str) -> Any: ...
    def histogram(self, name: str) -> Any: ...
    def text_readout(self, name: str) -> Any: ...
    def declare(self, names: Any) -> None: ...
    def before_read(self, fold: Any) -> None: ...
    def before_latch(self, fold: Any) -> None: ...
    def close(self) -> None: ...


class NoLog:
    def debug(self, event: str, **fields: Any) -> Any: ...

    info = warning = error = debug


def make_context(registry: FilterRegistry = STAND_INS, **changes: Any) -> CompileContext:
    tls = {
        f"envoy.extensions.transport_sockets.tls.v3.{side}TlsContext": lambda view, context: TransportSocket(
            "tls", view.raw()
        )
        for side in ("Downstream", "Upstream")
    }
    settings: dict[str, Any] = {
        "registry": registry,
        "stats": NoStats(),
        "make_logger": lambda name: NoLog(),
        "clock": FakeClock(),
        "rng": random.Random(1),
        "formats": Formats(),
        "transport_sockets": tls,
        "environ": {},
    }
    if "runtime" in changes:
        changes["runtime"] = RuntimeValues(changes["runtime"])
    return CompileContext(**(settings | changes))


def compile_text(text: str, context: CompileContext | None = None) -> Snapshot:
    view = load_bootstrap([Source("envoy.yaml", textwrap.dedent(text))]).view
    return compile_bootstrap(view, context or make_context())


def problems_of(text: str, context: CompileContext | None = None) -> list[str]:
    """The problems as they are printed; [] when there are none."""
    try:
        compile_text(text, context)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def view_of(full_name: str, text: str) -> ConfigView:
    return load_message(full_name, [Source("test.yaml", textwrap.dedent(text))]).view
