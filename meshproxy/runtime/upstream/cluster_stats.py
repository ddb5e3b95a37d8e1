"""The statistics of a cluster: `cluster.<name>.` (Envoy: "Cluster manager statistics").

A proxy may know thousands of clusters and use ten, so every handle is made when it is first asked for; afterwards it
is an ordinary attribute. What nobody has asked for is shown at zero all the same (`CLUSTER`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from meshproxy.plugin.stats import Counter, Gauge, Histogram, StatsScope
from meshproxy.runtime.cluster_stat_names import CLUSTER, HTTP1_CODEC, HTTP2_CODEC
from meshproxy.runtime.http2_gauges import Http2Gauges

if TYPE_CHECKING:
    from meshproxy.codec.h2_connection import Http2Codec

_GAUGES = frozenset(CLUSTER.gauges)
_HISTOGRAMS = frozenset(CLUSTER.histograms)


class ResponseTimes:
    """Milliseconds that responses took, each noted once and put into its two histograms at the end of an interval."""

    def __init__(self, scope: StatsScope) -> None:
        self.external: defaultdict[int, int] = defaultdict(int)
        self.internal: defaultdict[int, int] = defaultdict(int)
        self._scope = scope
        scope.before_latch(self._fold)

    def show(self) -> None:
        """Let the histograms be there; they get their values when the interval ends."""
        for counts, prefix in ((self.external, "external."), (self.internal, "internal.")):
            if counts:
                self._histograms(prefix)

    def _fold(self) -> None:
        for counts, prefix in ((self.external, "external."), (self.internal, "internal.")):
            for milliseconds, count in counts.items():
                for histogram in self._histograms(prefix):
                    histogram.record_many(milliseconds, count)
            counts.clear()

    def _histograms(self, prefix: str) -> tuple[Histogram, Histogram]:
        return self._scope.histogram("upstream_rq_time"), self._scope.histogram(f"{prefix}upstream_rq_time")


class LiveClusterStats:
    """Attribute access makes the statistic of that name; the annotations name those the code moves."""

    bind_errors: Counter
    lb_healthy_panic: Counter
    max_host_weight: Gauge
    membership_change: Counter
    original_dst_host_invalid: Counter
    membership_degraded: Gauge
    membership_excluded: Gauge
    membership_healthy: Gauge
    membership_total: Gauge
    retry_or_shadow_abandoned: Counter
    update_attempt: Counter
    update_empty: Counter
    update_failure: Counter
    update_no_rebuild: Counter
    update_success: Counter
    upstream_cx_active: Gauge
    upstream_cx_close_notify: Counter
    upstream_cx_connect_attempts_exceeded: Counter
    upstream_cx_connect_fail: Counter
    upstream_cx_connect_ms: Histogram
    upstream_cx_connect_timeout: Counter
    upstream_cx_destroy: Counter
    upstream_cx_destroy_local: Counter
    upstream_cx_destroy_local_with_active_rq: Counter
    upstream_cx_destroy_remote: Counter
    upstream_cx_destroy_remote_with_active_rq: Counter
    upstream_cx_destroy_with_active_rq: Counter
    upstream_cx_http1_total: Counter
    upstream_cx_http2_total: Counter
    upstream_cx_idle_timeout: Counter
    upstream_cx_length_ms: Histogram
    upstream_cx_max_duration_reached: Counter
    upstream_cx_max_requests: Counter
    upstream_cx_none_healthy: Counter
    upstream_cx_overflow: Counter
    upstream_cx_pool_overflow: Counter
    upstream_cx_protocol_error: Counter
    upstream_cx_rx_bytes_total: Counter
    upstream_cx_total: Counter
    upstream_cx_tx_bytes_total: Counter
    upstream_rq_active: Gauge
    upstream_rq_active_overflow: Counter
    upstream_rq_cancelled: Counter
    upstream_rq_completed: Counter
    upstream_rq_maintenance_mode: Counter
    upstream_rq_max_duration_reached: Counter
    upstream_rq_pending_active: Gauge
    upstream_rq_per_cx: Histogram
    upstream_rq_pending_failure_eject: Counter
    upstream_rq_pending_overflow: Counter
    upstream_rq_pending_total: Counter
    upstream_rq_per_try_idle_timeout: Counter
    upstream_rq_per_try_timeout: Counter
    upstream_rq_retry: Counter
    upstream_rq_retry_backoff_exponential: Counter
    upstream_rq_retry_backoff_ratelimited: Counter
    upstream_rq_retry_limit_exceeded: Counter
    upstream_rq_retry_overflow: Counter
    upstream_rq_retry_success: Counter
    upstream_rq_rx_reset: Counter
    upstream_rq_timeout: Counter
    upstream_rq_total: Counter
    upstream_rq_tx_reset: Counter

    def __init__(self, scope: StatsScope) -> None:
        self._scope = self.scope = scope
        self._external: defaultdict[int, int] = defaultdict(int)
        self._internal: defaultdict[int, int] = defaultdict(int)
        self._retried: defaultdict[int, int] = defaultdict(int)
        self._responses: dict[tuple[int, str], tuple[Counter, ...]] = {}
        self._times: ResponseTimes | None = None
        self._shows_http1 = False
        self._http2: StatsScope | None = None
        self._http2_gauges: Http2Gauges | None = None
        scope.declare(CLUSTER)

    def __getattr__(self, name: str) -> Counter | Gauge | Histogram:
        if name.startswith("_") or name not in type(self).__annotations__:
            raise AttributeError(name)
        made: Counter | Gauge | Histogram
        if name in _GAUGES:
            made = self._scope.gauge(name)
        elif name in _HISTOGRAMS:
            made = self._scope.histogram(name)
        else:
            made = self._scope.counter(name)
        setattr(self, name, made)
        return made

    def show_http1(self) -> None:
        """Show what is counted of HTTP/1 connections: Envoy does so once there is one."""
        if not self._shows_http1:
            self._shows_http1 = True
            self._scope.scope("http1.").declare(HTTP1_CODEC)

    def show_http2(self) -> None:
        """The same for HTTP/2."""
        if self._http2 is None:
            self._http2 = self._scope.scope("http2.")
            self._http2.declare(HTTP2_CODEC)
            self._http2_gauges = Http2Gauges(self._http2, "nghttp2_upstream_connections")

    def count_http2(self, name: str) -> None:
        """Count one of `HTTP2_CODEC`."""
        if self._http2 is not None:
            self._http2.counter(name).value += 1

    def note_http2(self, codecs: Iterable[Http2Codec]) -> None:
        """These are the HTTP/2 connections to hosts that there are now."""
        if self._http2_gauges is not None:
            self._http2_gauges.show(codecs)

    def count_destroy(self, *, remote: bool, active: bool) -> None:
        """A connection is gone. remote: the host ended it. active: with a request under way."""
        self.upstream_cx_destroy.value += 1
        if remote:
            self.upstream_cx_destroy_remote.value += 1
        else:
            self.upstream_cx_destroy_local.value += 1
        if active:
            self.upstream_cx_destroy_with_active_rq.value += 1
            if remote:
                self.upstream_cx_destroy_remote_with_active_rq.value += 1
            else:
                self.upstream_cx_destroy_local_with_active_rq.value += 1

    def count_new_hosts(self, count: int) -> None:
        """So many hosts have been given the cluster's own transport socket."""
        self._scope.counter("default.total_match_count").add(count)

    def count_response(self, status: int, *, internal: bool) -> None:
        """`upstream_rq_completed`, `_<code>`, `_<class>xx`, and the same under `external.` or `internal.`."""
        if internal:
            self._internal[status] += 1
        else:
            self._external[status] += 1

    def count_time(self, milliseconds: int, *, internal: bool) -> None:
        """How long a response took: `upstream_rq_time`, and the same under `external.` or `internal.`."""
        times = self._times
        if times is None:
            times = self._times = ResponseTimes(self._scope)
        (times.internal if internal else times.external)[milliseconds] += 1

    def count_retry_response(self, status: int) -> None:
        """The same under `retry.`, for an attempt whose response was thrown away."""
        self._retried[status] += 1

    def count_subsets(self, active: int, duplicates: int, counts: Mapping[str, int]) -> None:
        """How many subsets there are, and what their balancer has counted, by Envoy's names."""
        self._scope.gauge("lb_subsets_active").set(active)
        self._scope.gauge("lb_subsets_single_host_per_subset_duplicate").set(duplicates)
        for name, value in counts.items():
            self._scope.counter(name).add(value)

    def fold(self) -> None:
        """Spread what was counted by status over the statistics that it belongs to."""
        if self._times is not None:
            self._times.show()
        for counts, prefixes in (
            (self._external, ("", "external.")),
            (self._internal, ("", "internal.")),
            (self._retried, ("retry.",)),
        ):
            for status, count in counts.items():
                for counter in self._counters(status, prefixes):
                    counter.value += count
            counts.clear()

    def _counters(self, status: int, prefixes: tuple[str, ...]) -> tuple[Counter, ...]:
        key = (status, prefixes[-1])
        counters = self._responses.get(key)
        if counters is None:
            counters = self._responses[key] = self._make_counters(status, prefixes)
        return counters

    def _make_counters(self, status: int, prefixes: tuple[str, ...]) -> tuple[Counter, ...]:
        names = ["upstream_rq_completed", f"upstream_rq_{status}", f"upstream_rq_{status // 100}xx"]
        if not 100 <= status < 600:
            names[1:] = ["upstream_rq_unknown"]
        return tuple(self._scope.counter(prefix + name) for prefix in prefixes for name in names)
