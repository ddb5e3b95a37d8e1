"""CLIENT_SIDE_WEIGHTED_ROUND_ROBIN: hosts get their weights from the load reports in their own answers.

A host's weight is its requests per second through its utilization, the latter raised by the share of errors
(gRFC A58; Envoy: ClientSideWeightedRoundRobinLoadBalancer). A weight counts only once reports have come for a while
(`blackout`) and as long as they go on coming (`expiration`); a host without one gets the median of those that have
one, or 1. Which host is next is then a matter of ROUND_ROBIN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from meshproxy.balance.host import Host
from meshproxy.balance.load_report import reports_of, utilization

if TYPE_CHECKING:
    from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport

_MOST = 2**32 - 1


class WeightOptions(Protocol):
    """What of `meshproxy.model.cluster.ClientWeightOptions` is read here."""

    @property
    def blackout(self) -> float: ...
    @property
    def expiration(self) -> float: ...
    @property
    def error_penalty(self) -> float: ...
    @property
    def metrics(self) -> tuple[str, ...]: ...


class ReportedLoad:
    """What one host has reported."""

    __slots__ = ("_now", "_options", "_since", "_until", "_weight")

    def __init__(self, options: WeightOptions, now: Callable[[], float]) -> None:
        self._options = options
        self._now = now
        self._weight = 0
        self._since: float | None = None
        self._until = 0.0

    def on_report(self, report: OrcaLoadReport) -> None:
        """There was a report in an answer of the host."""
        if report.rps_fractional <= 0:
            return
        options = self._options
        busy = utilization(report, options.metrics) + options.error_penalty * report.eps / report.rps_fractional
        if busy <= 0:
            return
        self._weight = int(min(report.rps_fractional / busy, _MOST))
        now = self._now()
        self._until = now + options.expiration
        if self._since is None:
            self._since = now

    def weight(self) -> int | None:
        """The weight that counts now; None for none."""
        now = self._now()
        if self._since is None or now - self._options.blackout < self._since:
            return None
        if self._until < now:
            self._since = None
            return None
        return max(self._weight, 1)


class ClientWeights:
    """The reports of one cluster's hosts. now: monotonic seconds."""

    def __init__(self, options: WeightOptions, now: Callable[[], float]) -> None:
        self._options = options
        self._now = now
        self._loads: dict[Host, ReportedLoad] = {}

    def watch(self, added: Iterable[Host], removed: Iterable[Host] = ()) -> None:
        """Hear what the hosts that are new report, and no more of those that are gone."""
        for host in removed:
            self._loads.pop(host, None)
        for host in added:
            load = self._loads[host] = ReportedLoad(self._options, self._now)
            reports_of(host).read_by(load)

    def apply(self, hosts: Iterable[Host]) -> bool:
        """Give the hosts of one priority the weights that count now; says whether any of them changed."""
        weights = {host: load.weight() if (load := self._loads.get(host)) else None for host in hosts}
        known = sorted(weight for weight in weights.values() if weight is not None)
        default = known[len(known) // 2] if known else 1
        changed = False
        for host, weight in weights.items():
            settled = weight if weight is not None else default
            changed = changed or host.weight != settled
            host.weight = settled
        return changed
