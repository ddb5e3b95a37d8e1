"""Fields of the bootstrap that name an extension of which there is but one kind, or that steer what isn't there.

Each is checked, so that a configuration that asks for something else is refused.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.dns import compile_older_resolver, compile_typed_resolver
from meshproxy.model.dns import DnsResolverOptions
from meshproxy.plugin.view import ConfigView
from meshproxy.suggest import unsupported_extension

_RE2 = "envoy.extensions.regex_engines.v3.GoogleRE2"
_INTERNAL_LISTENER = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
_BUFFER_KB = 1024
_WORKLOADS = "istio.workload.BootstrapExtension"
_SOCKETS = "envoy.extensions.network.socket_interface.v3.DefaultSocketInterface"


def check_extensions(view: ConfigView, context: CompileContext) -> None:
    """Everything of the kind, but for resolvers. Problems are noted in the context."""
    engine = view.view("default_regex_engine")
    if engine is not None:
        with engine.collect(context.problems):
            _typed(engine, _RE2)
    for extension in view.views("bootstrap_extensions"):
        with extension.collect(context.problems):
            typed = extension.any("typed_config")
            if typed is not None and typed.full_name == _WORKLOADS:
                continue  # Istio's: workloads by address, for labels of peers, which are known by other means here
            known = _typed(extension, _INTERNAL_LISTENER, _SOCKETS)
            if known.full_name == _INTERNAL_LISTENER:
                context.internal_buffer = 1024 * known.integer("buffer_size_kb", _BUFFER_KB)
    view.text("default_socket_interface")  # names one of them; Envoy takes its own for a name that it doesn't know


def check_ignored(view: ConfigView, context: CompileContext) -> None:
    """What has no effect here must be sound all the same. Problems are noted in the context."""
    bootstrap: Any = view.peek()
    json_format = str(bootstrap.application_log_config.log_format.json_format)
    for operator in ("%v", "%_"):
        if operator in json_format:
            message = f"{operator} can't stand in a JSON log format"
            context.problems.append(view.error(message, "application_log_config"))


def _typed(extension: ConfigView, *known: str) -> ConfigView:
    typed = extension.any("typed_config")
    if typed is None:
        extension.fail("'typed_config' is required: an extension is found by the type of its configuration")
    if typed.view is None or typed.full_name not in known:
        typed.fail(unsupported_extension(typed.full_name, known))
    return typed.view


def compile_default_resolver(view: ConfigView, context: CompileContext) -> DnsResolverOptions:
    """Who is asked for the addresses of clusters that don't say so themselves. Problems are noted in the context."""
    use_tcp = view.boolean("use_tcp_for_dns_lookups")
    older, typed = view.view("dns_resolution_config"), view.view("typed_dns_resolver_config")
    found = DnsResolverOptions(use_tcp=use_tcp)
    if typed is not None:
        if older is not None:
            older.raw()
        with typed.collect(context.problems):
            found = compile_typed_resolver(typed)
    elif older is not None:
        with older.collect(context.problems):
            found = compile_older_resolver(older)
    return found
