"""One subscription as the runtime sees it: its statistics, its state, and when it has told all it can for a start.

A watch is *settled* once its resource came, was refused, or didn't come within `initial_fetch_timeout`; starting up and
warming wait for that and for no more. What came later than the timeout is taken all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import field
from typing import Any

from meshproxy.hashing import xxhash64
from meshproxy.model.discovery import ConfigSource, Resource
from meshproxy.plugin.stats import StatNames, StatsScope
from meshproxy.records import dataclass
from meshproxy.runtime.discovery.sources import Host, Sources, Subscription
from meshproxy.steps import Outcome, Steps

Apply = Callable[[Sequence[Resource], Sequence[str], bool, str], Outcome]
"""(added, removed, full, version) -> what is wrong, by name, or the steps that lead to it."""

SUBSCRIPTION = StatNames(
    counters=("init_fetch_timeout", "update_attempt", "update_failure", "update_rejected", "update_success"),
    gauges=("update_time", "version"),
    histograms=("update_duration",),
)


@dataclass(slots=True)
class WatchState:
    """What there is to know of a subscription. Times are wall clock in seconds, 0 for never."""

    version: str = ""
    updated: float = 0.0
    attempted: float = 0.0
    error: str = ""
    error_version: str = ""
    refused: dict[str, Any] = field(default_factory=dict)


class Hub:
    """What all watches of a process share."""

    def __init__(self, host: Host, sources: Sources) -> None:
        self.host = host
        self.sources = sources
        self.watches: dict[Watch, None] = {}
        self._fresh: dict[Watch, None] = {}

    def note_version(self, watch: Watch) -> None:
        """Have a watch show its version in the next turn of the loop: of a burst only the last one is looked at."""
        if not self._fresh:
            self.host.loop.call_soon(self._show_versions)
        self._fresh[watch] = None

    def _show_versions(self) -> None:
        fresh, self._fresh = self._fresh, {}
        for watch in fresh:
            watch.show_version()


class Watch:
    """A `Sink`. apply: puts resources into force. names: () for everything of the type.

    scope: of its statistics; it is the watch's own and goes with it.
    """

    def __init__(
        self, hub: Hub, type_url: str, source: ConfigSource, names: Sequence[str], scope: StatsScope, apply: Apply
    ) -> None:
        self._hub = hub
        self._type_url = type_url
        self.source = source
        self.names = tuple(names)
        self.state = WatchState()
        self.settled = False
        self._apply = apply
        self.scope = scope
        self._when_settled: list[Callable[[], object]] = []
        self._subscription: Subscription | None = None
        self._timer: Any = None
        self._closed = False
        scope.declare(SUBSCRIPTION)
        scope.text_readout("version_text")

    @property
    def type_url(self) -> str:
        return self._type_url

    def start(self) -> None:
        """Subscribe. What was fetched may be applied before this returns."""
        self._hub.watches[self] = None
        timeout = self.source.initial_fetch_timeout
        if timeout > 0:
            self._timer = self._hub.host.loop.call_later(timeout, self._timed_out)
        self._subscription = self._hub.sources.of(self.source).subscribe(self._type_url, self.names, self)

    def when_settled(self, call: Callable[[], object]) -> None:
        """Call back, maybe at once."""
        if self.settled:
            call()
        else:
            self._when_settled.append(call)

    def _settle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.settled:
            self.settled = True
            calls, self._when_settled = self._when_settled, []
            for call in calls:
                call()

    def _timed_out(self) -> None:
        self._timer = None
        self.scope.counter("init_fetch_timeout").inc()
        self.state.error = "nothing came within initial_fetch_timeout"
        self._settle()

    # What the source calls.

    def attempted(self) -> None:
        """See `Sink`."""
        self.scope.counter("update_attempt").inc()
        self.state.attempted = self._hub.host.clock.wall()

    def update(self, added: Sequence[Resource], removed: Sequence[str], *, full: bool, version: str) -> Outcome:
        """See `Sink`."""
        if self._closed:
            return {}
        began = time.monotonic()
        try:
            outcome = self._apply(added, removed, full, version)
        except Exception as error:  # a fault of ours must not end the traffic: what is in force stays
            outcome = self._failed_inside(error)
        if isinstance(outcome, Generator):
            return self._update_in_steps(outcome, version, began)
        return self._updated(outcome, version, began)

    def _update_in_steps(self, steps: Steps[Mapping[str, str]], version: str, began: float) -> Steps[Mapping[str, str]]:
        try:
            errors = yield from steps
        except Exception as error:  # as above
            errors = self._failed_inside(error)
        return self._updated(errors, version, began)

    def _failed_inside(self, error: Exception) -> Mapping[str, str]:
        """A fault of ours must not end the source's stream."""
        self._hub.host.log.error("applying resources failed", type=self._type_url, error=repr(error))
        return {self.names[0] if self.names else "": f"internal error: {error!r}"}

    def _updated(self, errors: Mapping[str, str], version: str, began: float) -> Mapping[str, str]:
        if self._closed:
            return errors
        state = self.state
        if errors:
            self._reject("; ".join(f"{name}: {text}" if name else text for name, text in errors.items()), version)
        else:
            state.version = version
            state.updated = self._hub.host.clock.wall()
            state.error = state.error_version = ""
            self.scope.counter("update_success").inc()
            self._hub.note_version(self)
            self.scope.histogram("update_duration").record(int((time.monotonic() - began) * 1000))
        self._settle()
        return errors

    def show_version(self) -> None:
        """Write the version that is in force, and since when, into the statistics."""
        if not self._closed:
            version = self.state.version
            self.scope.gauge("version").set(xxhash64(version.encode()))
            self.scope.gauge("update_time").set(int(self.state.updated * 1000))
            self.scope.text_readout("version_text").value = version

    def _reject(self, error: str, version: str) -> None:
        self.state.error = error
        self.state.error_version = version
        self.scope.counter("update_rejected").inc()
        self._hub.host.log.warning(
            "resources refused; what was in force stays", type=self._type_url.rpartition(".")[2], error=error
        )

    def failed(self, reason: str, detail: str) -> None:
        """See `Sink`."""
        if self._closed:
            return
        if reason == "rejected":
            self._reject(detail, "")
            self._settle()
            return
        self.scope.counter("update_failure").inc()
        self.state.error = detail
        if reason == "unreadable":
            self._hub.host.log.warning(
                "resources can't be read; what was in force stays",
                type=self._type_url.rpartition(".")[2],
                error=detail,
            )
            self._settle()

    def close(self) -> None:
        """Nothing is wanted any more."""
        self._closed = True
        self._hub.watches.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._when_settled.clear()
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        self.scope.close()
