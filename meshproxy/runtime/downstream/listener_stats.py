"""The statistics of a listener (Envoy: "Listener statistics")."""

from __future__ import annotations

from meshproxy.plugin.stats import StatNames
from meshproxy.runtime.downstream.listener_filters import CONFIG_MISSING, ERROR, REMOTE_CLOSE, TIMEOUT
from meshproxy.runtime.worker import Worker

LISTENER = StatNames(
    counters=("network_extension_config_missing",),
    histograms=("connections_accepted_per_socket_event",),
)
"""What Envoy shows besides the handles below, so that dashboards find it."""


class ListenerStats:
    """`listener.<address>.` (Envoy: "Listener statistics")."""

    def __init__(self, worker: Worker, prefix: str) -> None:
        self.scope = scope = worker.stats.scope(f"listener.{prefix}.")
        scope.declare(LISTENER)
        self.cx_total = scope.counter("downstream_cx_total")
        self.cx_active = scope.gauge("downstream_cx_active")
        self.cx_destroy = scope.counter("downstream_cx_destroy")
        self.cx_overflow = scope.counter("downstream_cx_overflow")
        self.global_cx_overflow = scope.counter("downstream_global_cx_overflow")
        self.cx_overload_reject = scope.counter("downstream_cx_overload_reject")
        self.cx_transport_socket_connect_timeout = scope.counter("downstream_cx_transport_socket_connect_timeout")
        self.pre_cx_active = scope.gauge("downstream_pre_cx_active")
        self.refusals = {name: scope.counter(name) for name in (TIMEOUT, CONFIG_MISSING, REMOTE_CLOSE, ERROR)}
        self.no_filter_chain_match = scope.counter("no_filter_chain_match")
        self.cx_length = scope.histogram("downstream_cx_length_ms")
        worker_scope = scope.scope(f"{worker.name}.")
        self.worker_cx_total = worker_scope.counter("downstream_cx_total")
        self.worker_cx_active = worker_scope.gauge("downstream_cx_active")
