"""Active health checks at work: one session for each host asks, by HTTP, gRPC or TCP, and tells `balance.health_check`.

A host begins ill and is given traffic after its first good answer; the cluster is warm when each of its first hosts has
been asked once. Connections of checks are apart from those of requests and count in no pool. What a host answers is
read by the codec that reads its other answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from meshproxy.address import SocketAddress
from meshproxy.balance.health_check import HealthState, Transition
from meshproxy.balance.host import HealthFlag, Host
from meshproxy.model.health_check import GrpcCheck, HealthCheck, HttpCheck
from meshproxy.plugin.context import Timer
from meshproxy.runtime.upstream.connections.auto_sni import NO_NAME
from meshproxy.runtime.upstream.connections.connect import open_connection
from meshproxy.runtime.upstream.health.cluster_events import HealthEvents
from meshproxy.runtime.upstream.health.health_probes import HttpProbe, Probe, TcpProbe, Verdict
from meshproxy.runtime.upstream.health.health_probes_http2 import GrpcProbe, HttpProbe2
from meshproxy.runtime_values import RuntimeValues, as_integer

if TYPE_CHECKING:
    from meshproxy.runtime.upstream.cluster import ActiveCluster


class HealthStats:
    """`cluster.<name>.health_check.`, and there `name.<name>.` of a check that has a name."""

    def __init__(self, cluster: ActiveCluster, name: str) -> None:
        scope = cluster.stats.scope.scope(f"health_check.name.{name}." if name else "health_check.")
        self.attempt = scope.counter("attempt")
        self.success = scope.counter("success")
        self.failure = scope.counter("failure")
        self.network_failure = scope.counter("network_failure")
        self.healthy = scope.gauge("healthy")
        self.degraded = scope.gauge("degraded")
        self.passive_failure = scope.counter("passive_failure")
        self.verify_cluster = scope.counter("verify_cluster")


class HealthChecker:
    """The checks of one cluster."""

    def __init__(self, cluster: ActiveCluster, config: HealthCheck) -> None:
        self.cluster = cluster
        self.config = config
        self.stats = HealthStats(cluster, config.name)
        self.events: HealthEvents | None = None
        if config.event_logs:
            worker = cluster.worker
            self.events = HealthEvents(
                cluster.name, config.check, config.event_logs, worker.access_logs.write, worker.clock.wall
            )
        self._sessions: dict[Host, _Session] = {}
        self._unchecked: set[Host] = set()
        self._when_checked: Callable[[], None] | None = None

    def update(self, added: Iterable[Host], removed: Iterable[Host]) -> None:
        """Check these hosts too, and those no more. To be called before the balancer looks at them."""
        for host in removed:
            session = self._sessions.pop(host, None)
            if session is not None:
                session.close()
                self.checked(host)
        for host in added:
            if host.endpoint.health_check_disabled:
                continue
            host.set_flag(HealthFlag.FAILED_ACTIVE_HC, True)
            host.set_flag(HealthFlag.PENDING_ACTIVE_HC, self.cluster.config.ignore_new_hosts)
            self._unchecked.add(host)
            self._sessions[host] = host.checked = _Session(self, host)

    def when_checked(self, call: Callable[[], None]) -> None:
        """Call back, maybe at once, when every host has been checked once."""
        self._when_checked = call
        self._tell_if_checked()

    def checked(self, host: Host) -> None:
        """A host has been checked, or is gone."""
        self._unchecked.discard(host)
        self._tell_if_checked()

    def _tell_if_checked(self) -> None:
        if self._when_checked is not None and not self._unchecked:
            call, self._when_checked = self._when_checked, None
            call()

    def fold(self) -> None:
        """Bring the gauges up to date."""
        flags = [host.flags for host in self._sessions]
        self.stats.healthy.set(sum(not flag & HealthFlag.FAILED_ACTIVE_HC for flag in flags))
        self.stats.degraded.set(sum(bool(flag & HealthFlag.DEGRADED_ACTIVE_HC) for flag in flags))

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()


class _Target:
    """A host as checks reach it: with `alt_port` or the endpoint's port for checks in place of its own."""

    def __init__(self, host: Host, config: HealthCheck) -> None:
        self.hostname = host.hostname
        self.metadata = host.metadata
        if config.socket_match is not None:
            self.metadata = {"envoy.transport_socket_match": config.socket_match}
        self.text = host.text
        port = host.endpoint.health_check_port or config.alt_port
        self.more_addresses = () if host.endpoint.health_check_address else host.more_addresses
        address = self.address = host.endpoint.health_check_address or host.address
        if port and isinstance(address, SocketAddress):
            self.address = address.with_port(port)
            self.more_addresses = tuple(each.with_port(port) for each in self.more_addresses)


class _Session:
    """The checks of one host, one after the other. At any time either a timer runs or a check, never both."""

    def __init__(self, checker: HealthChecker, host: Host) -> None:
        self._checker = checker
        self._host = host
        self._worker = checker.cluster.worker
        self._state = HealthState(checker.config)
        self._target: Any = _Target(host, checker.config)
        self._probe: Probe | None = None
        self._task: asyncio.Task[None] | None = None
        self._deadline: Timer | None = None
        self._timer: Timer | None = None
        jitter = checker.config.initial_jitter
        self._timer = self._worker.schedule(self._worker.rng.random() * jitter, self._begin)

    def close(self) -> None:
        self._stop()
        self._host.checked = None
        if self._timer is not None:
            self._timer.cancel()

    def on_immediate_failure(self) -> None:
        """The host answered a request with `x-envoy-immediate-health-check-fail`: that is believed at once."""
        stats, host = self._checker.stats, self._host
        stats.failure.inc()
        stats.passive_failure.inc()
        first = self._state.first
        transition = self._state.did_not_succeed(believed=True)
        self._log_failure("PASSIVE", 0, transition, first=first)
        self._apply(Verdict.ILL, succeeded=False, timeout=False, excludes=True)
        self._checker.checked(host)

    def _stop(self) -> None:
        """Give up what is under way, its connection included."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def _begin(self) -> None:
        self._timer = None
        self._checker.stats.attempt.inc()
        self._deadline = self._worker.schedule(self._checker.config.timeout, self._timed_out)
        probe = self._probe
        if probe is not None and probe.reusable:
            probe.ask()
            return
        self._stop_probe()
        cluster, check = self._checker.cluster, self._checker.config.check
        named = self._host.endpoint.health_check_hostname
        now = self._worker.loop.time
        if isinstance(check, GrpcCheck):
            authority = named or check.authority or cluster.name
            timeout = self._checker.config.timeout
            self._probe = GrpcProbe(check, authority, timeout, cluster.config.http2, now, self._judged)
        elif isinstance(check, HttpCheck):
            authority = named or check.host or cluster.name
            if check.http2:
                self._probe = HttpProbe2(check, authority, cluster.config.http2, now, self._judged)
            else:
                self._probe = HttpProbe(check, authority, cluster.config.http1, self._judged)
        else:
            self._probe = TcpProbe(check, self._judged)
        self._task = self._worker.loop.create_task(self._connect(self._probe))

    def _stop_probe(self) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.close()

    async def _connect(self, probe: Probe) -> None:
        try:
            name = NO_NAME._replace(alpn=self._checker.config.alpn) if self._checker.config.alpn else NO_NAME
            await open_connection(self._checker.cluster, self._target, lambda: probe, name)
        except OSError:
            self._task = None
            self._judged(Verdict.NETWORK)

    def _timed_out(self) -> None:
        self._deadline = None
        self._stop()
        self._host.set_flag(HealthFlag.ACTIVE_HC_TIMEOUT, True)
        self._judged(Verdict.NETWORK, timeout=True)

    def _judged(self, verdict: Verdict, *, timeout: bool = False) -> None:
        """A check is over."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._task = None
        checker, stats, host = self._checker, self._checker.stats, self._host
        succeeded = verdict in (Verdict.WELL, Verdict.DEGRADED)
        probe = self._probe
        status = probe.status if probe is not None else 0
        excluded = probe is not None and probe.excluded and verdict in (Verdict.ILL, Verdict.RETRIABLE)
        self._count_verification(status)
        if probe is not None and not (probe.reusable and checker.config.reuse_connection):
            self._stop_probe()
        first = self._state.first
        if succeeded:
            stats.success.inc()
            transition = self._state.succeeded()
            self._log_success(verdict, transition, first=first)
        else:
            stats.failure.inc()
            failure = "ACTIVE"
            if verdict is Verdict.NETWORK:
                stats.network_failure.inc()
                failure = "NETWORK_TIMEOUT" if timeout else "NETWORK"
            transition = self._state.did_not_succeed(believed=verdict is Verdict.ILL)
            self._log_failure(failure, status if failure == "ACTIVE" else 0, transition, first=first)
        traffic = checker.cluster.stats.upstream_cx_total.value > 0
        delay = self._state.interval(succeeded, transition, traffic, self._worker.rng)
        self._timer = self._worker.schedule(_bounded(delay, self._worker.runtime), self._begin)
        self._apply(verdict, succeeded, timeout, excludes=excluded)
        checker.checked(host)

    def _count_verification(self, status: int) -> None:
        """Whether the service's name was looked at: it is where the status is one of those expected."""
        check = self._checker.config.check
        if not isinstance(check, HttpCheck) or check.service_matches is None:
            return
        if any(start <= status < end for start, end in check.expected):
            self._checker.stats.verify_cluster.inc()

    def _log_success(self, verdict: Verdict, transition: Transition, *, first: bool) -> None:
        events, host = self._checker.events, self._host
        if events is None:
            return
        if transition is Transition.CHANGED:
            events.added(host, first=first)
        elif self._checker.config.log_successes:
            events.succeeded(host)
        degraded = verdict is Verdict.DEGRADED
        if degraded != bool(host.flags & HealthFlag.DEGRADED_ACTIVE_HC):
            events.degraded(host, degraded)

    def _log_failure(self, failure: str, status: int, transition: Transition, *, first: bool) -> None:
        events = self._checker.events
        if events is None:
            return
        if transition is Transition.CHANGED:
            events.ejected(self._host, failure, status)
        if first or self._checker.config.log_failures:
            events.failed(self._host, failure, status, first=first)

    def _apply(self, verdict: Verdict, succeeded: bool, timeout: bool, *, excludes: bool = False) -> None:
        host = self._host
        cluster = self._checker.cluster
        before, excluded = host.health, host.excluded
        failed = self._state.failed
        if excludes:
            host.set_flag(HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL, True)
        host.set_flag(HealthFlag.FAILED_ACTIVE_HC, failed)
        host.set_flag(HealthFlag.PENDING_ACTIVE_HC, False)
        if not (succeeded and failed):  # a success that isn't enough yet says nothing of the last failure
            host.set_flag(HealthFlag.ACTIVE_HC_TIMEOUT, timeout and failed)
        if succeeded:
            host.set_flag(HealthFlag.DEGRADED_ACTIVE_HC, verdict is Verdict.DEGRADED)
            if not failed:
                host.set_flag(HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL, False)
                if cluster.outlier is not None:
                    cluster.outlier.detector.on_active_health_check_success(host, self._worker.loop.time())
        if host.health is not before or host.excluded is not excluded:
            cluster.on_health_change(host)


_FOR_EVER = 1 << 40
"""Milliseconds."""


def _bounded(seconds: float, values: RuntimeValues) -> float:
    """An interval within what the runtime allows; it says so in milliseconds."""
    if not values:
        return seconds
    least = as_integer(values.get("health_check.min_interval"), 0) / 1000.0
    return max(min(seconds, as_integer(values.get("health_check.max_interval"), _FOR_EVER) / 1000.0), least)
