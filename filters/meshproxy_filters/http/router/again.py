"""The router's further attempts: whether there is one, when it comes, and how long an attempt may take.

Theory. An attempt that failed, or whose response is one to try again after, leads to another as long as the policy has
some left and the cluster's retry limit allows. Timers of an attempt start when the request is complete and the attempt
has its connection (Envoy's documentation of `per_try_timeout`).

Invariant: a retry that was taken from the cluster's limit is given back once, by `_end_retry`.
"""

from __future__ import annotations

from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.model.redirect import InternalRedirects
from meshproxy.plugin.grpc_timeout import format_grpc_timeout
from meshproxy.plugin.replies import PER_TRY_IDLE_TIMEOUT, PER_TRY_TIMEOUT, LocalReply
from meshproxy.plugin.upstream import Host
from meshproxy_filters.http.router.carried import Carried
from meshproxy_filters.http.router.redirect import aim, loses_body
from meshproxy_filters.http.router.retry import RetryRules, RetryState
from meshproxy_filters.http.router.state import RouterState
from meshproxy_filters.http.router.timeouts import is_grpc


class Again(RouterState):
    """See the module. What isn't here comes from the router that extends it."""

    def _attempt(self) -> None:
        """Choose a host and send the request to it."""
        raise NotImplementedError  # the router gives it

    def _fail(self, reply: LocalReply) -> None:
        """Answer for an upstream that didn't."""
        raise NotImplementedError  # the router gives it

    def on_upstream_blocked(self, blocked: bool) -> None:
        """See `HttpUpstreamSink`."""
        raise NotImplementedError  # the router gives it

    def _retry_response(self, rules: RetryRules, response: ResponseHeaders, end: bool) -> bool:
        """Whether this response, which the rules want another attempt after, is thrown away: one was planned, or is
        under way."""
        host = self._host
        self._retries(rules).hear(response)
        if self._may_retry(rules, host, response.status):
            assert self._cluster is not None
            self._cluster.stats.count_retry_response(response.status)
        elif self._race is None or not self._race.late:
            return False
        if not end and self._upstream is not None:
            self._upstream.reset()
        self._upstream = None
        return True

    def _follows(self, policy: InternalRedirects, response: ResponseHeaders, end: bool) -> bool:
        """Whether this response is a redirect that is followed here; then the stream is over."""
        if response.status not in policy.codes or self._upgrade:
            return False
        stream = self._stream
        assert self._cluster is not None
        counter = self._cluster.stats.scope.counter
        whole = stream.request_end or (self._ended and self._kept is not None)
        if not whole or "location" not in response or not aim(policy, response, stream, self.config.redirects):
            counter("upstream_internal_redirect_failed_total").inc()
            return False
        counter("upstream_internal_redirect_succeeded_total").inc()
        if end:
            self._upstream = None
        kept = () if loses_body(response, stream.request) else self._kept or ()
        stream.follow(response, b"".join(piece for piece in kept if isinstance(piece, bytes)))
        return True

    def _retries(self, rules: RetryRules) -> RetryState:
        if self._retry is None:
            self._retry = RetryState(rules, self.context.rng, self.context.clock)
        return self._retry

    def _may_retry(self, rules: RetryRules, host: Host | None, status: int = 0, timeout: bool = False) -> bool:
        """Take another attempt if there is one left, and plan it. status: of the response that is thrown away.

        timeout: the attempt took too long.
        """
        self._after_timeout = timeout
        cluster = self._cluster
        assert cluster is not None
        stats = cluster.stats
        self._end_retry()
        retry = self._retries(rules)
        if self._has_none_left(retry):
            return False
        if not self.config.uses_retry():
            return False
        if not cluster.try_retry(self._action.priority):
            stats.upstream_rq_retry_overflow.inc()
            for counts in self._counts:
                counts.retry_overflow += 1
            self._stream.add_flag("UO")
            return False
        self._retrying = self._extras = True
        if self._stream.span is not None:
            self._stream.span.end_attempt(self._stream, status)
        self._stream.upstream_transport_failure_reason = ""
        if host is not None:
            self._tried = (*self._tried, host)
        self._host = None
        self._stop_try_timers()
        stats.upstream_rq_retry.inc()
        for counts in self._counts:
            counts.retry += 1
        if retry.reset_interval:
            stats.upstream_rq_retry_backoff_ratelimited.inc()
        else:
            stats.upstream_rq_retry_backoff_exponential.inc()
        self.on_upstream_blocked(False)  # the attempt that is over can't say so any more
        self._retry_timer = self._stream.schedule(retry.next_delay(), self._try_again)
        return True

    def _has_none_left(self, retry: RetryState) -> bool:
        if retry.left > 0:
            return False
        assert self._cluster is not None
        self._cluster.stats.upstream_rq_retry_limit_exceeded.inc()
        for counts in self._counts:
            counts.retry_limit_exceeded += 1
        self._stream.add_flag("URX")
        return True

    def _end_retry(self) -> None:
        if self._retrying:
            self._retrying = False
            assert self._cluster is not None
            self._cluster.end_retry(self._action.priority)

    def _try_again(self) -> None:
        self._retry_timer = None
        stream = self._stream
        stream.attempt_count += 1
        route = stream.route
        if route is not None and route.include_request_attempt_count:
            stream.request.fields["x-envoy-attempt-count"] = str(stream.attempt_count)
        if route is not None and route.tells_timeout_retry:
            stream.request["x-envoy-is-timeout-retry"] = "true" if self._after_timeout else "false"
        self._tell_time_left()
        self._attempt()
        upstream = self._upstream
        if upstream is None or not self._kept:
            return
        kept = list(self._kept)
        for index, piece in enumerate(kept):
            last = self._ended and index == len(kept) - 1
            if isinstance(piece, Headers):
                upstream.send_trailers(piece)
            else:
                upstream.send_body(piece, last)
        upstream.flush()

    def _tell_time_left(self) -> None:
        """What the next attempt may take, of the time that the whole request has."""
        fields = self._stream.request.fields
        timeouts = self._timeouts
        tells_grpc = self._action.max_grpc_timeout is not None and is_grpc(self._stream.request)
        if not timeouts.whole or ("x-envoy-expected-rq-timeout-ms" not in fields and not tells_grpc):
            return
        left = timeouts.whole
        if self._stream.request_complete:  # else its time has yet to begin
            since = max(self._began, self._stream.request_complete)
            left = max(left - (self.context.clock.now() - since), 0.001)
        expected = min(timeouts.per_try, left) if timeouts.per_try and self._race is None else left
        if "x-envoy-expected-rq-timeout-ms" in fields:
            fields["x-envoy-expected-rq-timeout-ms"] = str(int(expected * 1000))
        if tells_grpc:
            fields["grpc-timeout"] = format_grpc_timeout(int(expected * 1000) / 1000)

    # How long an attempt may take.

    def _start_try_timers(self) -> None:
        """The request is complete and the attempt has its connection."""
        timeouts = self._timeouts
        self._extras = True
        if timeouts.per_try and self._try_timer is None:
            self._try_timer = self._stream.schedule(timeouts.per_try, self._try_timed_out)
        if timeouts.per_try_idle and self._idle_timer is None:
            self._heard_at = self.context.clock.now()
            self._idle_timer = self._stream.schedule(timeouts.per_try_idle, self._look_for_idleness)

    def _stop_try_timer(self) -> None:
        if self._try_timer is not None:
            self._try_timer.cancel()
            self._try_timer = None

    def _stop_try_timers(self) -> None:
        self._stop_try_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _try_timed_out(self) -> None:
        self._try_timer = None
        upstream = self._upstream
        if self._response_started or upstream is None:
            return
        if self._race is not None:
            self._hedge()
            return
        assert self._cluster is not None
        self._cluster.stats.upstream_rq_per_try_timeout.inc()
        self._give_up_attempt(PER_TRY_TIMEOUT)

    def _hedge(self) -> None:
        """Let the attempt go on, and start another beside it if there is one left."""
        rules, race, upstream, host = self._rules, self._race, self._upstream, self._host
        if host is not None and host.monitor is not None:
            host.monitor.on_failure(connected=True, timeout=True)
        if rules is None or race is None or upstream is None:
            return
        if self._has_none_left(self._retries(rules)) or not self._may_retry(rules, host, timeout=True):
            return
        race.overtake(upstream)
        self._upstream = None

    def _look_for_idleness(self) -> None:
        self._idle_timer = None
        timeout = self._timeouts.per_try_idle
        left = self._heard_at + timeout - self.context.clock.now()
        if self._upstream is None:
            return
        if left > 0.001:
            self._idle_timer = self._stream.schedule(left, self._look_for_idleness)
            return
        assert self._cluster is not None
        self._cluster.stats.upstream_rq_per_try_idle_timeout.inc()
        if self._response_started:
            self._upstream.reset()
            self._stream.reset(PER_TRY_IDLE_TIMEOUT.details, "UT")
        else:
            self._give_up_attempt(PER_TRY_IDLE_TIMEOUT)

    def _give_up_attempt(self, reply: LocalReply) -> None:
        """The attempt took too long: try again, or answer with `reply`."""
        if self._upstream is not None:
            if isinstance(self._upstream, Carried):
                self._upstream.add_flag("UT")
            self._upstream.reset()
            self._upstream = None
        host, self._host = self._host, None
        if host is not None:
            host.rq_timeout += 1
            host.rq_error += 1
            if host.monitor is not None:
                host.monitor.on_failure(connected=True, timeout=True)
        rules = self._rules
        if rules is not None and rules.wants_timeout() and self._may_retry(rules, host, timeout=True):
            return
        self._fail(reply)
