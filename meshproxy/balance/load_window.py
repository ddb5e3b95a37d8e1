"""What the hosts of clusters were asked to do since somebody last asked: the figures of load reports (LRS).

Nothing is counted for it on the path of a request. A host's counters only ever grow, so a window remembers what they
were when it was last emptied, and takes the difference. What a host had counted that is gone by then is lost, as in
Envoy.

The figures are plain tuples and dicts, for with several workers they cross a socket and are added up (`add_loads`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from meshproxy.balance.host import Host
from meshproxy.balance.load_report import named_metrics, reports_of
from meshproxy.steps import Steps

if TYPE_CHECKING:
    from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport

_AT_ONCE = 200
_MOST_METRICS = 1000
"""Of one host: their names are its own to choose."""

Metrics = dict[str, tuple[int, float]]
"""By name: how many requests had it, and the sum of its values."""
HostLoad = tuple[int, int, int, int, Metrics]
"""Requests that succeeded, failed, are under way, and were begun; and what the host reported."""
Place = tuple[int, str, str, str]
"""Priority, region, zone, sub-zone."""
ClusterLoad = dict[str, Any]
"""service: the name that endpoints are discovered by. dropped: requests that were refused; shed: those of them that
`drop_overloads` refused, for the reason `category`. places: `HostLoad`s by `Place` and address."""


class ReportedMetrics:
    """What one host reported by name, added up until it is taken."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = names
        self._sums: Metrics = {}

    def on_report(self, report: OrcaLoadReport) -> None:
        """There was a report in an answer of the host."""
        sums = self._sums
        for name, value in named_metrics(report, self._names):
            if name in sums or len(sums) < _MOST_METRICS:
                count, total = sums.get(name, (0, 0.0))
                sums[name] = count + 1, total + value

    def take(self) -> Metrics:
        """What there is, which is over with it."""
        sums, self._sums = self._sums, {}
        return sums


class LoadMetrics:
    """The metrics of one cluster's hosts. names: those that are reported on (`lrs_report_endpoint_metrics`)."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = names
        self._of: dict[Host, ReportedMetrics] = {}

    def watch(self, added: Iterable[Host], removed: Iterable[Host] = ()) -> None:
        """Hear what the hosts that are new report, and no more of those that are gone."""
        for host in removed:
            self._of.pop(host, None)
        for host in added:
            metrics = self._of[host] = ReportedMetrics(self._names)
            reports_of(host).read_by(metrics)

    def take(self, host: Host) -> Metrics:
        """What a host has reported since it was last taken."""
        metrics = self._of.get(host)
        return metrics.take() if metrics is not None else {}


class Cluster(Protocol):
    """What of `meshproxy.runtime.upstream.cluster.ActiveCluster` is read here."""

    name: str
    dropped: int
    shed: int
    drop_category: str
    load_metrics: LoadMetrics | None

    @property
    def service_name(self) -> str: ...

    @property
    def has_localities(self) -> bool: ...

    def hosts(self) -> list[Host]: ...


_Counts = tuple[int, int, int]


class _Tracked:
    """One cluster's counters at the last emptying. cluster: whose `dropped` and `shed` those were."""

    __slots__ = ("cluster", "drops", "hosts")

    def __init__(self) -> None:
        self.cluster: Cluster | None = None
        self.drops = (0, 0)
        self.hosts: dict[Host, _Counts] = {}

    def reset(self, cluster: Cluster) -> None:
        """All that was counted until now is of no interest."""
        self.cluster = cluster
        self.drops = cluster.dropped, cluster.shed
        self.hosts = {host: _counts(host) for host in cluster.hosts()}
        if cluster.load_metrics is not None:
            for host in self.hosts:
                cluster.load_metrics.take(host)

    def take(self, cluster: Cluster) -> Steps[ClusterLoad]:
        """What came in since; the window is empty then."""
        before = self.drops if self.cluster is cluster else (0, 0)
        self.cluster = cluster
        self.drops = cluster.dropped, cluster.shed
        places: dict[Place, dict[str, HostLoad]] = {}
        hosts: dict[Host, _Counts] = {}
        for index, host in enumerate(cluster.hosts() if cluster.has_localities else ()):
            if index % _AT_ONCE == _AT_ONCE - 1:
                yield
            load = self._take_host(cluster, host, hosts)
            if any(load):
                locality = host.locality
                place = host.priority, locality.region, locality.zone, locality.sub_zone
                places.setdefault(place, {})[host.text] = load
        self.hosts = hosts
        return {
            "service": cluster.service_name,
            "dropped": self.drops[0] - before[0],
            "shed": self.drops[1] - before[1],
            "category": cluster.drop_category,
            "places": places,
        }

    def _take_host(self, cluster: Cluster, host: Host, after: dict[Host, _Counts]) -> HostLoad:
        now = after[host] = _counts(host)
        succeeded, failed, begun = self.hosts.get(host, (0, 0, 0))
        metrics = cluster.load_metrics.take(host) if cluster.load_metrics is not None else {}
        return now[0] - succeeded, now[1] - failed, host.rq_active, now[2] - begun, metrics


def _counts(host: Host) -> _Counts:
    return host.rq_success, host.rq_error, host.rq_total


class LoadWindow:
    """The clusters of one worker that are reported on."""

    def __init__(self) -> None:
        self._tracked: dict[str, _Tracked] = {}

    def track(self, clusters: Mapping[str, Cluster], names: Collection[str] | None) -> list[str]:
        """Report on these clusters from now on, None: on all there are; returns their names.

        What is counted of a cluster that was reported on already goes on. One that isn't there yet is reported on from
        its beginning.
        """
        before = self._tracked
        self._tracked = {}
        for name in clusters if names is None else names:
            tracked = before.get(name)
            if tracked is None:
                tracked = _Tracked()
                if name in clusters:
                    tracked.reset(clusters[name])
            self._tracked[name] = tracked
        return list(self._tracked)

    def take(self, clusters: Mapping[str, Cluster]) -> Steps[dict[str, ClusterLoad]]:
        """The loads of the clusters that there are; the window is empty then."""
        loads: dict[str, ClusterLoad] = {}
        for name, tracked in list(self._tracked.items()):
            cluster = clusters.get(name)
            if cluster is not None:
                loads[name] = yield from tracked.take(cluster)
                yield
        return loads


def add_loads(workers: Iterable[Mapping[str, ClusterLoad]]) -> dict[str, ClusterLoad]:
    """The loads that several workers have put on the same clusters, as one."""
    total: dict[str, ClusterLoad] = {}
    for loads in workers:
        for name, load in loads.items():
            known = total.get(name)
            if known is None:
                total[name] = load
                continue
            known["dropped"] += load["dropped"]
            known["shed"] += load["shed"]
            for place, hosts in load["places"].items():
                there = known["places"].setdefault(place, {})
                for address, host in hosts.items():
                    there[address] = add_hosts((there[address], host)) if address in there else host
    return total


def add_hosts(hosts: Iterable[HostLoad]) -> HostLoad:
    """The loads of several hosts, or of one in several workers, as one."""
    counts = [0, 0, 0, 0]
    metrics: Metrics = {}
    for *numbers, reported in hosts:
        for index, number in enumerate(numbers):
            counts[index] += number
        for name, (count, value) in reported.items():
            known = metrics.get(name, (0, 0.0))
            metrics[name] = known[0] + count, known[1] + value
    return counts[0], counts[1], counts[2], counts[3], metrics
