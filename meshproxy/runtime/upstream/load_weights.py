"""Weights by load reports at work: `balance.client_weights` asked again and again, and the balancer told of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from meshproxy.balance.client_weights import ClientWeights
from meshproxy.balance.host import Host
from meshproxy.balance.host_set import PrioritySet
from meshproxy.model.cluster import ClientWeightOptions
from meshproxy.runtime.worker import Worker

_SHORTEST = 0.01  # seconds between two looks, whatever is configured


class LoadWeights:
    """The weights of one cluster's hosts. on_change: the balancer must look at them anew."""

    def __init__(
        self, worker: Worker, options: ClientWeightOptions, priorities: PrioritySet, on_change: Callable[[], None]
    ) -> None:
        self._worker = worker
        self._weights = ClientWeights(options, worker.loop.time)
        self._priorities = priorities
        self._on_change = on_change
        self._period = max(options.update, _SHORTEST)
        self._timer = worker.schedule(self._period, self._turn)

    def watch(self, added: Iterable[Host], removed: Iterable[Host]) -> None:
        """See `ClientWeights.watch`."""
        self._weights.watch(added, removed)

    def _turn(self) -> None:
        self._timer = self._worker.schedule(self._period, self._turn)
        changes = [self._weights.apply(host_set.hosts) for host_set in self._priorities.sets]
        if any(changes):
            self._on_change()

    def close(self) -> None:
        self._timer.cancel()
