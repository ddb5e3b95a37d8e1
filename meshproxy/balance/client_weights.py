"""CLIENT_SIDE_WEIGHTED_ROUND_ROBIN: hosts get their weights from the load reports in their own answers.

A host's weight is its requests per second through its utilization, the latter raised by the share of errors
(gRFC A58; Envoy: ClientSideWeightedRoundRobinLoadBalancer). A weight counts only once reports have come for a while
(`blackout`) and as long as they go on coming (`expiration`); a host without one gets the median of those that have
one, or 1. Which host is next is then a matter of ROUND_ROBIN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from meshproxy.balance.host import Host
from meshproxy.balance.load_report import Fields, read_load_report, utilization

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
    """What one host has reported (`Host.loads`)."""

    __slots__ = ("_now", "_options", "_since", "_until", "_weight")

    def __init__(self, options: WeightOptions, now: Callable[[], float]) -> None:
        self._options = options
        self._now = now
        self._weight = 0
        self._since: float | None = None
        self._until = 0.0

    def on_answer(self, fields: Fields) -> None:
        """A response of the host has begun, or ended with these trailers."""
        report = read_load_report(fields)
        if report is None or report.rps_fractional <= 0:
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

    def watch(self, hosts: Iterable[Host]) -> None:
        """Hear what these hosts report."""
        for host in hosts:
            if host.loads is None:
                host.loads = ReportedLoad(self._options, self._now)

    def apply(self, hosts: Iterable[Host]) -> bool:
        """Give the hosts of one priority the weights that count now; says whether any of them changed."""
        weights = {host: host.loads.weight() if host.loads is not None else None for host in hosts}
        known = sorted(weight for weight in weights.values() if weight is not None)
        default = known[len(known) // 2] if known else 1
        changed = False
        for host, weight in weights.items():
            settled = weight if weight is not None else default
            changed = changed or host.weight != settled
            host.weight = settled
        return changed
