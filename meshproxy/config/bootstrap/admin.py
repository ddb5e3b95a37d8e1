"""The admin interface (envoy.config.bootstrap.v3.Admin)."""

from __future__ import annotations

from meshproxy.config.matching.matchers import compile_string_matchers
from meshproxy.config.reporting.access_logs import DEFAULT_FORMAT, compile_access_logs
from meshproxy.config.values.addresses import compile_bound_address
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.formats import compile_text
from meshproxy.config.values.listener_sockets import compile_socket_options
from meshproxy.model.listener import AccessLog
from meshproxy.model.snapshot import AdminConfig
from meshproxy.plugin.view import ConfigView


def compile_admin(view: ConfigView | None, context: CompileContext) -> AdminConfig:
    """`admin`. Problems are noted in the context."""
    config = AdminConfig()
    if view is None:
        return config
    with view.collect(context.problems):
        address = view.view("address")
        older = view.text("access_log_path")
        logs = compile_access_logs(view.views("access_log"), context)
        config = AdminConfig(
            address=compile_bound_address(address) if address is not None else None,
            access_logs=(*logs, *((_older_log(view, older, context),) if older else ())),
            socket_options=compile_socket_options(view, "socket_options"),
            ignore_global_conn_limit=view.boolean("ignore_global_conn_limit"),
            allowed=compile_string_matchers(view, "allow_paths") if view.views("allow_paths") else None,
        )
    return config


def _older_log(view: ConfigView, path: str, context: CompileContext) -> AccessLog:
    """`access_log_path`: a file in the default format."""
    context.log_files.setdefault(path, view.error(f"unable to open file '{path}'", "access_log_path"))
    return AccessLog(path, compile_text(view, "access_log_path", DEFAULT_FORMAT, context))
