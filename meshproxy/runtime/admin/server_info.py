"""`/server_info`: version, state, the command line and who this proxy is (envoy.admin.v3.ServerInfo)."""

from __future__ import annotations

import json
from typing import Any

from meshproxy.plugin.registry import short_name
from meshproxy.runtime.admin.program import Program
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.version import full_version, hot_restart_version, tls_library, version

_DEFAULT_LOG_FORMAT = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"


def _seconds(value: float) -> str:
    """A Duration as JSON: whole seconds, or with milliseconds."""
    return f"{int(value)}s" if value == int(value) else f"{value:.3f}s"


def options_json(options: Options) -> dict[str, Any]:
    """envoy.admin.v3.CommandLineOptions, with the same keys in the same order."""
    return {
        "base_id": str(options.base_id),
        "concurrency": options.concurrency,
        "config_path": options.config_path,
        "config_yaml": options.config_yaml,
        "allow_unknown_static_fields": options.allow_unknown_static_fields,
        "admin_address_path": options.admin_address_path,
        "local_address_ip_version": options.local_address_ip_version,
        "log_level": options.log_level,
        "component_log_level": options.component_log_level,
        "log_format": options.log_format or _DEFAULT_LOG_FORMAT,
        "log_path": options.log_path,
        "service_cluster": options.service_cluster,
        "service_node": options.service_node,
        "service_zone": options.service_zone,
        "file_flush_interval": _seconds(options.file_flush_interval),
        "drain_time": _seconds(options.drain_time),
        "parent_shutdown_time": _seconds(options.parent_shutdown_time),
        "mode": options.mode.capitalize(),
        "disable_hot_restart": options.disable_hot_restart,
        "enable_mutex_tracing": options.enable_mutex_tracing,
        "restart_epoch": options.restart_epoch,
        "cpuset_threads": options.cpuset_threads,
        "reject_unknown_dynamic_fields": options.reject_unknown_dynamic_fields,
        "log_format_escaped": options.log_format_escaped,
        "disabled_extensions": list(options.disabled_extensions),
        "ignore_unknown_dynamic_fields": options.ignore_unknown_dynamic_fields,
        "use_dynamic_base_id": options.use_dynamic_base_id,
        "base_id_path": options.base_id_path,
        "drain_strategy": options.drain_strategy.capitalize(),
        "enable_fine_grain_logging": options.enable_fine_grain_logging,
        "socket_path": options.socket_path,
        "socket_mode": options.socket_mode,
        "enable_core_dump": options.enable_core_dump,
        "stats_tag": [f"{name}:{value}" for name, value in options.stats_tags],
        "skip_hot_restart_on_no_parent": options.skip_hot_restart_on_no_parent,
        "skip_hot_restart_parent_stats": options.skip_hot_restart_parent_stats,
        "skip_deprecated_logs": options.skip_deprecated_logs,
        "file_flush_min_size": options.file_flush_min_size,
        "log_stacktrace_single_entry": options.log_stacktrace_single_entry,
    }


def _node_json(program: Program) -> dict[str, Any]:
    node = program.snapshot.node
    numbers = [*version().split("."), "0", "0"][:3]
    build = {
        "version": dict(zip(("major_number", "minor_number", "patch"), map(_number, numbers), strict=True)),
        "metadata": {"build.type": "RELEASE", "ssl.version": tls_library()},
    }
    shown: dict[str, Any] = {"id": node.id, "cluster": node.cluster}
    if node.metadata:
        shown["metadata"] = dict(node.metadata)
    if node.region or node.zone or node.sub_zone:
        shown["locality"] = {"region": node.region, "zone": node.zone, "sub_zone": node.sub_zone}
    shown["user_agent_name"] = "meshproxy"
    shown["user_agent_build_version"] = build
    shown["extensions"] = [_extension_json(name) for name in program.registry_names]
    shown.update(dynamic_parameters={}, client_features=[], listening_addresses=[])
    return shown


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _extension_json(name: str) -> dict[str, Any]:
    """A filter by the name of its configuration message; its category is that of the message's package."""
    short = short_name(name)
    category = ".".join(short.split(".")[:3]) if short != name else "envoy.filters.http"
    return {"name": short, "category": category, "type_descriptor": "", "disabled": False, "type_urls": [name]}


def render(program: Program) -> str:
    """The whole, in JSON."""
    uptime = f"{int(program.wall() - program.started)}s"
    return (
        json.dumps(
            {
                "version": full_version(),
                "state": program.visible_state(),
                "uptime_current_epoch": uptime,
                "uptime_all_epochs": uptime,
                "hot_restart_version": hot_restart_version(program.options.disable_hot_restart),
                "command_line_options": options_json(program.options),
                "node": _node_json(program),
                "hot_restart_initializing": False,
            },
            indent=1,
            ensure_ascii=False,
        )
        + "\n"
    )
