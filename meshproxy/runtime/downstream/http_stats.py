"""The statistics of a connection manager: `http.<stat_prefix>.` (Envoy: "HTTP connection manager statistics")."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from meshproxy.plugin.stats import Counter, StatNames, StatsScope
from meshproxy.runtime.cluster_stat_names import HTTP1_CODEC, HTTP2_CODEC
from meshproxy.runtime.http2_gauges import Http2Gauges

if TYPE_CHECKING:
    from meshproxy.codec.h2_server import Http2ServerCodec

_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

CONNECTION_MANAGER = StatNames(
    counters=(
        "downstream_cx_http3_total",
        "downstream_flow_control_paused_reading_total",
        "downstream_flow_control_resumed_reading_total",
        "downstream_rq_http3_total",
        "downstream_rq_too_many_premature_resets",
        "tracing.client_enabled",
        "tracing.not_traceable",
        "tracing.random_sampling",
        "tracing.service_forced",
    ),
    gauges=(
        "downstream_cx_http1_soft_drain",
        "downstream_cx_http3_active",
        "downstream_cx_rx_bytes_buffered",
        "downstream_cx_tx_bytes_buffered",
    ),
)
"""What Envoy shows besides the handles below, so that dashboards find it."""


class HttpStats:
    """Handles, made once per configuration.

    What every request moves is counted in plain numbers (`started`, `finished`, `codes`, bytes) and spread over the
    handles by `fold` when somebody looks.
    """

    def __init__(self, root: StatsScope, stat_prefix: str) -> None:
        scope = root.scope(f"http.{stat_prefix}.")
        counter, gauge, histogram = scope.counter, scope.gauge, scope.histogram
        self.cx_total = counter("downstream_cx_total")
        self.cx_overload_disable_keepalive = counter("downstream_cx_overload_disable_keepalive")
        self.rq_overload_close = counter("downstream_rq_overload_close")
        self.cx_active = gauge("downstream_cx_active")
        self.rq_health_check = counter("tracing.health_check")
        self.cx_http1_total = counter("downstream_cx_http1_total")
        self.cx_http1_active = gauge("downstream_cx_http1_active")
        self.cx_http2_total = counter("downstream_cx_http2_total")
        self.cx_http2_active = gauge("downstream_cx_http2_active")
        self.cx_ssl_total = counter("downstream_cx_ssl_total")
        self.cx_ssl_active = gauge("downstream_cx_ssl_active")
        self.cx_destroy = counter("downstream_cx_destroy")
        self.cx_destroy_local = counter("downstream_cx_destroy_local")
        self.cx_destroy_remote = counter("downstream_cx_destroy_remote")
        self.cx_destroy_active_rq = counter("downstream_cx_destroy_active_rq")
        self.cx_destroy_local_active_rq = counter("downstream_cx_destroy_local_active_rq")
        self.cx_destroy_remote_active_rq = counter("downstream_cx_destroy_remote_active_rq")
        self.cx_protocol_error = counter("downstream_cx_protocol_error")
        self.cx_rx_bytes_total = counter("downstream_cx_rx_bytes_total")
        self.cx_tx_bytes_total = counter("downstream_cx_tx_bytes_total")
        self.cx_idle_timeout = counter("downstream_cx_idle_timeout")
        self.cx_max_duration_reached = counter("downstream_cx_max_duration_reached")
        self.cx_max_requests_reached = counter("downstream_cx_max_requests_reached")
        self.cx_drain_close = counter("downstream_cx_drain_close")
        self.cx_delayed_close_timeout = counter("downstream_cx_delayed_close_timeout")
        self.cx_upgrades_total = counter("downstream_cx_upgrades_total")
        self.cx_upgrades_active = gauge("downstream_cx_upgrades_active")
        self.cx_length_ms = histogram("downstream_cx_length_ms")
        self.rq_total = counter("downstream_rq_total")
        self.rq_active = gauge("downstream_rq_active")
        self.rq_completed = counter("downstream_rq_completed")
        self.rq_http1_total = counter("downstream_rq_http1_total")
        self.rq_http2_total = counter("downstream_rq_http2_total")
        self.rq_rx_reset = counter("downstream_rq_rx_reset")
        self.rq_tx_reset = counter("downstream_rq_tx_reset")
        self.rq_timeout = counter("downstream_rq_timeout")
        self.rq_header_timeout = counter("downstream_rq_header_timeout")
        self.rq_idle_timeout = counter("downstream_rq_idle_timeout")
        self.rq_max_duration_reached = counter("downstream_rq_max_duration_reached")
        self.rq_non_relative_path = counter("downstream_rq_non_relative_path")
        self.rq_too_large = counter("downstream_rq_too_large")
        self.rq_response_before_rq_complete = counter("downstream_rq_response_before_rq_complete")
        self.rq_ws_on_non_ws_route = counter("downstream_rq_ws_on_non_ws_route")
        self.rq_rejected_via_ip_detection = counter("downstream_rq_rejected_via_ip_detection")
        self.rq_failed_path_normalization = counter("downstream_rq_failed_path_normalization")
        self.rq_redirected_with_normalized_path = counter("downstream_rq_redirected_with_normalized_path")
        self.rq_time = histogram("downstream_rq_time")
        codec = root.scope("http1.")
        codec.declare(HTTP1_CODEC)
        self.dropped_underscores = codec.counter("dropped_headers_with_underscores")
        self.rejected_underscores = codec.counter("requests_rejected_with_underscores_in_headers")
        self.rs_too_large = counter("rs_too_large")
        self.by_class: list[Counter] = [counter(f"downstream_rq_{name}") for name in _CLASSES]
        self._root = root
        self._of_listener: tuple[Counter, list[Counter]] | None = None
        scope.declare(CONNECTION_MANAGER)

        self.started = 0
        self.started_http2 = 0
        self.finished = 0
        self.rx_bytes = 0
        self.tx_bytes = 0
        self.codes: defaultdict[int, int] = defaultdict(int)
        self._folded = 0
        self._folded_http2 = 0
        self._active = 0
        self.http2: dict[str, Counter] = {}
        self.http2_codecs: set[Http2ServerCodec] = set()
        self._http2_gauges: Http2Gauges | None = None

    def count_early_response(self) -> None:
        """A request was answered before all of it was there. As Envoy's, which resets what it waits for no longer."""
        self.rq_response_before_rq_complete.value += 1
        self.rq_rx_reset.value += 1

    def add_http2(self, codec: Http2ServerCodec) -> None:
        """A connection speaks HTTP/2; the caller takes it out of `http2_codecs` again. As in Envoy, the codec's
        statistics (`http2.`, one set for all managers) are there from the first one on."""
        if self._http2_gauges is None:
            scope = self._root.scope("http2.")
            scope.declare(HTTP2_CODEC)
            self.http2 = {name: scope.counter(name) for name in HTTP2_CODEC.counters}
            self._http2_gauges = Http2Gauges(scope, "nghttp2_downstream_connections")
        self.http2_codecs.add(codec)

    def count_for_listener(self, scope: StatsScope) -> None:
        """Count responses under the listener too: `listener.<address>.http.<stat_prefix>.`; `scope` is that."""
        classes = [scope.counter(f"downstream_rq_{name}") for name in _CLASSES]
        self._of_listener = scope.counter("downstream_rq_completed"), classes

    def fold(self) -> None:
        """Spread what was counted in one place over the statistics that it belongs to."""
        fresh = self.started - self._folded
        self._folded = self.started
        fresh_http2 = self.started_http2 - self._folded_http2
        self._folded_http2 = self.started_http2
        self.rq_total.value += fresh
        self.rq_http1_total.value += fresh - fresh_http2
        self.rq_http2_total.value += fresh_http2
        if self._http2_gauges is not None:
            self._http2_gauges.show(self.http2_codecs)
        active = self.started - self.finished
        # By how much it changed: several connection managers, an old generation and a new one, share the gauge.
        self.rq_active.add(active - self._active)
        self._active = active
        self.cx_rx_bytes_total.value += self.rx_bytes
        self.cx_tx_bytes_total.value += self.tx_bytes
        self.rx_bytes = self.tx_bytes = 0
        for status, count in self.codes.items():
            self.rq_completed.value += count
            index = status // 100 - 1
            if 0 <= index < 5:
                self.by_class[index].value += count
            if self._of_listener is not None:
                completed, classes = self._of_listener
                completed.value += count
                if 0 <= index < 5:
                    classes[index].value += count
        self.codes.clear()
