"""The statistics of `istio.stats`, one set of labels after another (istio.io: "Istio Standard Metrics").

Theory. Making labels and names costs far more than counting, and few sets of labels occur. So the handles of a set are
kept under the few facts of a stream that its labels follow from, and a request costs one look-up.

A client's Host may become a label, and so may what it says of itself, and whatever an expression reads. So the number
of sets is bounded: beyond `_MAX_SETS` none of that is told apart any more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import field
from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stats import StatsScope, tagged_name
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.workload import NO_PEER, Workload
from meshproxy.records import dataclass
from meshproxy_filters.istio_labels import CLIENT, SERVER, UNKNOWN, WAYPOINT, Facts, Labels, Role, service_of
from meshproxy_filters.istio_overrides import HISTOGRAMS, Kind, Overrides, read_overrides

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_MAX_SETS = 4096
_INTERVAL = 5.0
_GRACE = 300.0


class LabelSet:
    """The handles of one set of labels, each made when it is first counted with. values: of the expressions.

    peer: kept here, so that nobody else gets its identity.
    """

    __slots__ = ("_config", "_counts", "_labels", "_peer", "_values")

    def __init__(
        self, labels: Labels, values: tuple[str, ...], peer: Workload | None, config: IstioStatsConfig
    ) -> None:
        self._labels = labels
        self._values = values
        self._peer = peer
        self._config = config
        self._counts: dict[str, Callable[[int], None]] = {}

    def add(self, metric: str, amount: int = 1) -> None:
        """Count `amount`, or record it in a histogram."""
        count = self._counts.get(metric)
        if count is None:
            count = self._counts[metric] = self._make(metric)
        count(amount)

    def add_custom(self) -> None:
        """Count the metrics that the configuration defines by the value of an expression."""
        for metric in self._config.overrides.custom:
            value = self._values[metric.expression]
            self.add(metric.name, int(value) if value.isascii() and value.isdigit() else 0)

    def _make(self, metric: str) -> Callable[[int], None]:
        config, overrides = self._config, self._config.overrides
        if metric in overrides.dropped:
            return lambda amount: None
        name = tagged_name(f"istio_{metric}", overrides.apply(metric, self._labels, self._values))
        kind = overrides.kinds.get(metric) or (Kind.HISTOGRAM if metric in HISTOGRAMS else Kind.COUNTER)
        if kind is Kind.GAUGE:
            return config.scope.gauge(name).set
        return config.scope.histogram(name).record if kind is Kind.HISTOGRAM else config.scope.counter(name).add


@dataclass(slots=True, eq=False)
class IstioStatsConfig:
    """role: at which end we stand. interval: seconds between reports of what goes on, 0 for none but the last.

    rotation, grace: seconds; rotation 0 for never.
    """

    own: Workload
    role: Role
    host_fallback: bool
    interval: float
    rotation: float
    grace: float
    overrides: Overrides
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

    def of_request(self, info: StreamInfo, protocol: str, grpc_status: str) -> LabelSet:
        """The handles for a request that is over."""
        return self._find(info, protocol, info.response_code, grpc_status)

    def of_messages(self, info: StreamInfo) -> LabelSet:
        """The handles for what counts while a request goes on."""
        return self._find(info, "", None, "")

    def of_connection(self, info: StreamInfo) -> LabelSet:
        """The handles for a connection of TCP."""
        return self._find(info, "tcp", None, "")

    def peer_is_known(self, info: StreamInfo) -> bool:
        """Whether the other end has said who it is, or is known not to say so."""
        return any(state and (self.role.peer_key in state or NO_PEER in state) for state in self.role.states(info))

    def _find(self, info: StreamInfo, protocol: str, code: int | None, grpc_status: str) -> LabelSet:
        """protocol: "" for what isn't told by it, nor by what only the end shows. code: None for connections."""
        if self.rotation:
            self._rotate()
        request, role, sets = info.request, self.role, self.sets
        host = request.authority if request is not None and self.host_fallback else ""
        expressions = self.overrides.expressions
        values = tuple([read(info) or UNKNOWN for read in expressions]) if expressions else ()
        peer = role.find_peer(info)
        principals = role.principals(info)
        if len(sets) >= _MAX_SETS:
            host, peer, values = "", None, (UNKNOWN,) * len(values)
        # A peer by its identity, which its set of labels keeps: to hash all of it costs more than all the rest.
        key = (
            *(code, grpc_status, info.flags if protocol else "", protocol, info.upstream_cluster, info.upstream_host),
            *(info.route_name, host, id(peer), principals, values),
        )
        found = sets.get(key)
        if found is None:
            if len(sets) >= 2 * _MAX_SETS:
                sets.clear()  # the statistics stay; only the way to them is found anew
            facts = Facts(self.own, peer, principals, service_of(info, bool(host)))
            found = sets[key] = LabelSet(self._labels(info, facts, protocol, code, grpc_status), values, peer, self)
        return found

    def _labels(self, info: StreamInfo, facts: Facts, protocol: str, code: int | None, grpc_status: str) -> Labels:
        labels = self.role.labels(facts, info)
        if protocol:
            labels.append(("request_protocol", protocol))
            if code is not None:
                labels += [("response_code", str(code)), ("grpc_response_status", grpc_status)]
            labels.append(("response_flags", info.flags or "-"))
            labels.append(("connection_security_policy", self.role.security_policy(facts.principals)))
        return labels

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
    role = SERVER if context.traffic_direction == "INBOUND" else CLIENT
    if view.enum("reporter") == "SERVER_GATEWAY":
        role = WAYPOINT
    version = context.node.metadata.get("ISTIO_VERSION")
    build = [("component", "proxy"), ("tag", str(version) if version else UNKNOWN)]
    context.root_stats.scope("istiocustom.").gauge(tagged_name("istio_build", build)).set(1)
    return IstioStatsConfig(
        own=Workload.of_metadata(context.node.metadata),
        role=role,
        host_fallback=not view.boolean("disable_host_header_fallback"),
        interval=view.seconds("tcp_reporting_duration", _INTERVAL),
        rotation=view.seconds("rotation_interval", 0.0),
        grace=view.seconds("graceful_deletion_interval", _GRACE),
        overrides=read_overrides(view, context),
        root=context.root_stats,
        now=context.clock.now,
    )
