"""The configuration of `istio.stats` (`stats.PluginConfig`), and the statistics of one set of labels.

Theory. Making labels and names costs far more than counting, and few sets of labels occur. So the handles of a set are
kept under the few facts of a stream that its labels follow from, and a request costs one look-up.

A client's Host may become a label, so the number of sets is bounded: beyond `_MAX_SETS` hosts are no longer told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import field
from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stats import StatsScope, tagged_name
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.records import dataclass
from meshproxy_filters.istio_labels import Labels, Workload, labels_of_client, labels_of_server, security_policy

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

METRICS = (
    "requests_total",
    "request_duration_milliseconds",
    "request_bytes",
    "response_bytes",
    "request_messages_total",
    "response_messages_total",
    "tcp_connections_opened_total",
    "tcp_connections_closed_total",
    "tcp_sent_bytes_total",
    "tcp_received_bytes_total",
)
_HISTOGRAMS = frozenset({"request_duration_milliseconds", "request_bytes", "response_bytes"})
_MAX_SETS = 4096
_GRACE = 300.0


class LabelSet:
    """The handles of one set of labels, each made when it is first counted with."""

    __slots__ = ("_config", "_counts", "_labels")

    def __init__(self, labels: Labels, config: IstioStatsConfig) -> None:
        self._labels = labels
        self._config = config
        self._counts: dict[str, Callable[[int], None]] = {}

    def add(self, metric: str, amount: int = 1) -> None:
        """Count `amount`, or record it in a histogram."""
        count = self._counts.get(metric)
        if count is None:
            count = self._counts[metric] = self._make(metric)
        count(amount)

    def _make(self, metric: str) -> Callable[[int], None]:
        config = self._config
        if metric in config.dropped:
            return lambda amount: None
        removed = config.removed.get(metric, frozenset())
        name = tagged_name(f"istio_{metric}", [label for label in self._labels if label[0] not in removed])
        return config.scope.histogram(name).record if metric in _HISTOGRAMS else config.scope.counter(name).add


@dataclass(slots=True, eq=False)
class IstioStatsConfig:
    """server: whether we are the called end. rotation, grace: seconds; rotation 0 for never.

    dropped: metrics that aren't counted. removed: labels left out, by metric.
    """

    own: Workload
    server: bool
    host_fallback: bool
    rotation: float
    grace: float
    dropped: frozenset[str]
    removed: dict[str, frozenset[str]]
    root: StatsScope
    now: Callable[[], float]
    scope: StatsScope = field(init=False)
    sets: dict[Hashable, LabelSet] = field(default_factory=dict)
    _rotate_at: float = 0.0
    _old: StatsScope | None = None
    _old_until: float = 0.0

    def __post_init__(self) -> None:
        self.scope = self.root.scope("istiocustom.")
        self._rotate_at = self.now() + self.rotation if self.rotation else float("inf")

    def find(self, info: StreamInfo, protocol: str, code: int | None, grpc_status: str) -> LabelSet:
        """The handles for a stream that is over, or for a connection (`code` None)."""
        if self.rotation:
            self._rotate()
        tls = info.connection.tls if self.server else info.upstream_tls
        request = info.request
        host = request.authority if request is not None and self.host_fallback else ""
        if len(self.sets) >= _MAX_SETS:
            host = ""
        key = (
            *(
                code,
                info.flags,
                grpc_status,
                protocol,
                info.upstream_cluster,
                info.upstream_host,
                info.route_name,
                host,
            ),
            *((tls.peer_uri_sans[:1], tls.local_uri_sans[:1]) if tls is not None else ()),
        )
        found = self.sets.get(key)
        if found is None:
            found = self.sets[key] = self._make(info, protocol, code, grpc_status, bool(host))
        return found

    def _make(self, info: StreamInfo, protocol: str, code: int | None, grpc_status: str, with_host: bool) -> LabelSet:
        if len(self.sets) >= 2 * _MAX_SETS:
            self.sets.clear()  # the statistics stay; only the way to them is found anew
        labels = (labels_of_server if self.server else labels_of_client)(info, self.own, with_host)
        labels.append(("request_protocol", protocol))
        if code is not None:
            labels += [("response_code", str(code)), ("grpc_response_status", grpc_status)]
        labels += [
            ("response_flags", info.flags or "-"),
            ("connection_security_policy", security_policy(info, self.server)),
        ]
        return LabelSet(labels, self)

    def _rotate(self) -> None:
        """Begin new statistics from time to time, so that those of what is long gone go."""
        now = self.now()
        if self._old is not None and now >= self._old_until:
            self._old.close()
            self._old = None
        if now >= self._rotate_at:
            if self._old is not None:
                self._old.close()
            self._old, self._old_until = self.scope, now + self.grace
            self.scope = self.root.scope("istiocustom.")
            self.sets.clear()
            self._rotate_at = now + self.rotation


def compile_stats(view: ConfigView, context: FactoryContext) -> IstioStatsConfig:
    """`stats.PluginConfig`. Raises ConfigError."""
    if view.enum("reporter") != "UNSPECIFIED":
        view.fail("the reporter of a gateway for many workloads (a waypoint) isn't supported by meshproxy", "reporter")
    if view.has("definitions"):
        view.fail("metrics of one's own aren't supported by meshproxy; a Python filter can count them", "definitions")
    view.ignore("tcp_reporting_duration")
    dropped, removed = _read_metrics(view)
    version = context.node.metadata.get("ISTIO_VERSION")
    build = [("component", "proxy"), ("tag", str(version) if version else "unknown")]
    context.root_stats.scope("istiocustom.").gauge(tagged_name("istio_build", build)).set(1)
    return IstioStatsConfig(
        own=Workload.of_node(context.node),
        server=context.traffic_direction == "INBOUND",
        host_fallback=not view.boolean("disable_host_header_fallback"),
        rotation=view.seconds("rotation_interval", 0.0),
        grace=view.seconds("graceful_deletion_interval", _GRACE),
        dropped=dropped,
        removed=removed,
        root=context.root_stats,
        now=context.clock.now,
    )


def _read_metrics(view: ConfigView) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    dropped: set[str] = set()
    removed: dict[str, frozenset[str]] = {}
    for entry in view.views("metrics"):
        for unsupported in ("dimensions", "match"):
            if entry.has(unsupported):
                entry.fail("expressions aren't supported by meshproxy here", unsupported)
        name = entry.text("name")
        if name and name not in METRICS:
            entry.fail(f"there is no metric '{name}'", "name")
        names = (name,) if name else METRICS
        labels = frozenset(entry.texts("tags_to_remove"))
        for metric in names:
            removed[metric] = removed.get(metric, frozenset()) | labels
        if entry.boolean("drop"):
            dropped.update((name,) if name else ())
    return frozenset(dropped), removed
