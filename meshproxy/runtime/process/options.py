"""What the command line decides, apart from the configuration itself; the names and defaults are Envoy's flags'."""

from __future__ import annotations

from dataclasses import field

from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Times in seconds, sizes in bytes.

    concurrency: worker processes, already derived when 0 was asked for.
    drain_strategy: "gradual" or "immediate". mode: "serve" or "validate".
    ignored: flags that were given and can't mean anything here.
    """

    config_path: str = ""
    config_yaml: str = ""
    mode: str = "serve"
    concurrency: int = 1
    concurrency_reason: str = "the default"
    admin_address_path: str = ""
    service_node: str = ""
    service_cluster: str = ""
    service_zone: str = ""
    local_address_ip_version: str = "v4"
    log_level: str = "info"
    component_log_level: str = ""
    log_format: str = ""
    log_format_escaped: bool = False
    log_path: str = ""
    enable_fine_grain_logging: bool = False
    drain_time: float = 600.0
    drain_strategy: str = "gradual"
    parent_shutdown_time: float = 900.0
    file_flush_interval: float = 10.0
    file_flush_min_size: int = 65536
    allow_unknown_static_fields: bool = False
    reject_unknown_dynamic_fields: bool = False
    ignore_unknown_dynamic_fields: bool = False
    skip_deprecated_logs: bool = False
    disabled_extensions: tuple[str, ...] = ()
    stats_tags: tuple[tuple[str, str], ...] = ()
    base_id: int = 0
    base_id_path: str = ""
    use_dynamic_base_id: bool = False
    restart_epoch: int = 0
    disable_hot_restart: bool = False
    skip_hot_restart_on_no_parent: bool = False
    skip_hot_restart_parent_stats: bool = False
    socket_path: str = "@envoy_domain_socket"
    socket_mode: int = 0o600
    cpuset_threads: bool = False
    enable_mutex_tracing: bool = False
    enable_core_dump: bool = False
    log_stacktrace_single_entry: bool = False
    ignored: tuple[str, ...] = field(default=())
