"""The statistics that Envoy shows for every cluster: `cluster.<name>.` (the output of its `/stats`)."""

from __future__ import annotations

from meshproxy.plugin.stats import StatNames

# fmt: off
CLUSTER = StatNames(
    counters=(
        "assignment_stale", "assignment_timeout_received", "assignment_use_cached", "bind_errors",
        "default.total_match_count", "lb_healthy_panic", "lb_local_cluster_not_ok",
        "lb_recalculate_zone_structures", "lb_subsets_created", "lb_subsets_fallback",
        "lb_subsets_fallback_panic", "lb_subsets_removed", "lb_subsets_selected", "lb_zone_cluster_too_small",
        "lb_zone_no_capacity_left", "lb_zone_routing_all_directly", "lb_zone_routing_cross_zone",
        "lb_zone_routing_sampled", "membership_change", "original_dst_host_invalid",
        "retry_or_shadow_abandoned", "update_attempt", "update_empty", "update_failure", "update_no_rebuild",
        "update_success", "upstream_cx_close_notify", "upstream_cx_connect_attempts_exceeded",
        "upstream_cx_connect_fail", "upstream_cx_connect_timeout", "upstream_cx_connect_with_0_rtt",
        "upstream_cx_destroy", "upstream_cx_destroy_local", "upstream_cx_destroy_local_with_active_rq",
        "upstream_cx_destroy_remote", "upstream_cx_destroy_remote_with_active_rq",
        "upstream_cx_destroy_with_active_rq", "upstream_cx_http1_total", "upstream_cx_http2_total",
        "upstream_cx_http3_total", "upstream_cx_idle_timeout", "upstream_cx_max_duration_reached",
        "upstream_cx_max_requests", "upstream_cx_none_healthy", "upstream_cx_overflow",
        "upstream_cx_pool_overflow", "upstream_cx_preconnect_skipped", "upstream_cx_protocol_error",
        "upstream_cx_rx_bytes_total", "upstream_cx_total", "upstream_cx_tx_bytes_total",
        "upstream_flow_control_backed_up_total", "upstream_flow_control_drained_total",
        "upstream_flow_control_paused_reading_total", "upstream_flow_control_resumed_reading_total",
        "upstream_http3_broken", "upstream_internal_redirect_failed_total",
        "upstream_internal_redirect_succeeded_total", "upstream_rq_0rtt", "upstream_rq_active_overflow",
        "upstream_rq_cancelled", "upstream_rq_completed", "upstream_rq_maintenance_mode",
        "upstream_rq_max_duration_reached", "upstream_rq_pending_failure_eject", "upstream_rq_pending_overflow",
        "upstream_rq_pending_total", "upstream_rq_per_try_idle_timeout", "upstream_rq_per_try_timeout",
        "upstream_rq_retry", "upstream_rq_retry_backoff_exponential", "upstream_rq_retry_backoff_ratelimited",
        "upstream_rq_retry_limit_exceeded", "upstream_rq_retry_overflow", "upstream_rq_retry_success",
        "upstream_rq_rx_reset", "upstream_rq_rx_reset_no_error", "upstream_rq_timeout", "upstream_rq_total",
        "upstream_rq_tx_reset",
    ),
    gauges=(
        "lb_subsets_active", "max_host_weight", "membership_degraded", "membership_excluded",
        "membership_healthy", "membership_total", "upstream_cx_active", "upstream_cx_rx_bytes_buffered",
        "upstream_cx_tx_bytes_buffered", "upstream_queue_overloaded", "upstream_rq_active",
        "upstream_rq_pending_active", "version", "warming_state",
    ),
    histograms=("upstream_cx_connect_ms", "upstream_cx_length_ms", "upstream_rq_per_cx"),
)
# fmt: on

HTTP1_CODEC = StatNames(
    counters=(
        "dropped_headers_with_underscores",
        "metadata_not_supported_error",
        "requests_rejected_with_underscores_in_headers",
        "response_flood",
    )
)
"""Below `http1.`: of all connections of clients, and below a cluster's prefix of its connections to hosts."""

HTTP2_CODEC = StatNames(
    counters=(
        "cookies_total_bytes_too_large",
        "deferred_stream_close",
        "dropped_headers_with_underscores",
        "goaway_sent",
        "header_list_size_too_large",
        "header_overflow",
        "headers_cb_no_stream",
        "inbound_empty_frames_flood",
        "inbound_priority_frames_flood",
        "inbound_window_update_frames_flood",
        "keepalive_timeout",
        "metadata_empty_frames",
        "outbound_control_flood",
        "outbound_flood",
        "requests_rejected_with_underscores_in_headers",
        "rx_messaging_error",
        "rx_reset",
        "stream_refused_errors",
        "trailers",
        "tx_flush_timeout",
        "tx_reset",
    ),
    gauges=(
        "nghttp2_downstream_connections",
        "nghttp2_upstream_connections",
        "oghttp2_downstream_connections",
        "oghttp2_upstream_connections",
        "outbound_control_frames_active",
        "outbound_frames_active",
        "pending_send_bytes",
        "streams_active",
    ),
    histograms=("cookie_count", "cookie_size", "header_count", "header_list_size"),
)
"""Below `http2.`, as `HTTP1_CODEC`. Envoy names its codec there; ours stands in its place."""

BREAKER = StatNames(gauges=("cx_open", "cx_pool_open", "rq_open", "rq_pending_open", "rq_retry_open"))
"""Below `circuit_breakers.<priority>.`."""

ROUTE = StatNames(
    counters=(
        "upstream_rq_retry",
        "upstream_rq_retry_limit_exceeded",
        "upstream_rq_retry_overflow",
        "upstream_rq_retry_success",
        "upstream_rq_timeout",
        "upstream_rq_total",
    )
)
"""Below `vhost.<name>.route.<stat_prefix>.`."""
