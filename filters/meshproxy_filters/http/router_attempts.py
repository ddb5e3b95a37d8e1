"""The router's attempts: one request to one host after the other, until one is answered or none is left.

Theory. At any time there is at most one attempt, `_upstream`; the filter itself is its sink. An attempt ends in one of
four ways: its response is complete, it was reset, it took too long, or the client's side ended. Until a response head
has gone downstream each of them may lead to another attempt; afterwards none does.

Invariants:
- an attempt that is given up is `reset()`, and then nothing more is heard of it;
- each attempt that had a host is counted once in `upstream_rq_*`, the last one without the `retry.` prefix.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.model.route import ForwardAction
from meshproxy.model.route_counts import RouteCounts
from meshproxy.plugin.context import Stream, Timer
from meshproxy.plugin.http import TerminalHttpFilter
from meshproxy.plugin.replies import (
    NO_HEALTHY_UPSTREAM,
    PER_TRY_TIMEOUT,
    RESPONSE_TIMEOUT,
    LocalReply,
    ResetReason,
    upstream_reset,
)
from meshproxy.plugin.stats import Counter
from meshproxy.plugin.upstream import Cluster, Host, HttpUpstream
from meshproxy_filters.http.router_retry import RetryState
from meshproxy_filters.http.router_timeouts import NO_TIMEOUTS, Timeouts


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """Compiled options. envoy_headers: `suppress_envoy_headers` is off."""

    envoy_headers: bool
    no_route: Counter
    no_cluster: Counter
    rq_total: Counter
    rq_direct_response: Counter
    rq_reset_after_downstream_response_started: Counter


class Attempts(TerminalHttpFilter[RouterConfig]):
    """What the router does towards hosts; `Router` adds what it does towards the client. Its state is here."""

    _stream: Stream
    _action: ForwardAction
    _cluster: Cluster | None = None
    _upstream: HttpUpstream | None = None
    _host: Host | None = None
    _tried: tuple[Host, ...] = ()
    _retry: RetryState | None = None
    _retrying: bool = False
    _timeouts: Timeouts = NO_TIMEOUTS
    _whole_timer: Timer | None = None
    _try_timer: Timer | None = None
    _retry_timer: Timer | None = None
    _kept: list[bytes | Headers] | None = None
    _kept_size: int = 0
    _ended: bool = False
    _request_sent: bool = False
    _began: float = 0.0
    _response_at: float = 0.0
    _internal: bool = False
    _upgrade: str = ""
    _blocked: bool = False
    _request_blocked: bool = False
    _response_started: bool = False
    _counts: RouteCounts | None = None
    _no_content_on_timeout: bool = False

    # The attempt.

    @property
    def stream_info(self) -> Stream:
        """Where an upstream that measures notes what it finds."""
        return self._stream

    def _attempt(self) -> None:
        """Choose a host and send the request to it."""
        stream = self._stream
        cluster = self._cluster
        assert cluster is not None
        policy = self._action.retry_policy
        if self._tried and policy is not None and policy.avoid_previous_hosts:
            host = cluster.pick(stream, avoid=self._tried, attempts=policy.host_selection_max_attempts)
        else:
            host = cluster.pick(stream)
        if host is None:
            self._fail(NO_HEALTHY_UPSTREAM)
            return
        self._host = host
        stream.upstream_host = stream.upstream_remote_address = host.text
        if host.metadata:
            stream.upstream_host_metadata = host.metadata
        if host.hostname:
            stream.upstream_host_name = host.hostname
        action = self._action
        if action.auto_host_rewrite and host.hostname:
            self._rewrite_host(host.hostname)
        if self._began == 0.0:
            self._began = self.context.clock.now()
        self._request_sent = False
        if self._counts is not None:
            self._counts.total += 1
        end = stream.request_end or (self._ended and not self._kept)
        upstream = cluster.request(host, stream.request, end, self, priority=action.priority)
        if self._host is None or stream.done:
            return  # it failed before `request` returned
        if self._upstream is None:
            self._upstream = upstream
            if upstream.local_address:
                self._request_sent = True
                self._note_upstream(upstream)
        per_try = self._timeouts.per_try
        if per_try and (self._ended or stream.request_end):
            self._try_timer = stream.schedule(per_try, self._try_timed_out)

    def _rewrite_host(self, hostname: str) -> None:
        """`auto_host_rewrite`: the endpoint is asked for by its own name."""
        request = self._stream.request
        if request.authority != hostname:
            old, request.authority = request.authority, hostname
            if self.config.envoy_headers and self._stream.attempt_count == 1:
                request.fields["x-envoy-original-host"] = old
                if self._action.append_x_forwarded_host:
                    forwarded = request.get("x-forwarded-host")
                    request["x-forwarded-host"] = f"{forwarded},{old}" if forwarded else old

    def _note_upstream(self, upstream: HttpUpstream) -> None:
        stream = self._stream
        stream.upstream_local_address = upstream.local_address
        stream.upstream_connection_id = upstream.connection_id
        if upstream.tls is not None:
            stream.upstream_tls = upstream.tls
        stream.upstream_protocol = upstream.protocol

    def on_upstream_ready(self, upstream: HttpUpstream) -> None:
        self._upstream = upstream
        self._request_sent = True
        self._note_upstream(upstream)

    def on_upstream_blocked(self, blocked: bool) -> None:
        if blocked != self._request_blocked:
            self._request_blocked = blocked
            self._stream.read_disable(blocked)

    # The response.

    def on_upstream_informational(self, response: ResponseHeaders) -> None:
        self._stream.send_informational(response)

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        stream = self._stream
        cluster = self._cluster
        host = self._host
        assert cluster is not None
        status = response.status
        if host is not None:
            if status >= 500:
                host.rq_error += 1
            else:
                host.rq_success += 1
        retry = self._retry
        if retry is not None and self._retry_response(retry, response, end):
            return
        self._response_started = True
        self._kept = None
        if self._try_timer is not None:
            self._try_timer.cancel()
            self._try_timer = None
        now = self._response_at = self.context.clock.now()
        stream.first_upstream_rx = now
        if self._retrying:
            cluster.stats.upstream_rq_retry_success.inc()
            if self._counts is not None:
                self._counts.retry_success += 1
            self._end_retry()
        fields = response.fields
        stream.details = "via_upstream"
        if self._upgrade:
            end = self._end_handshake(response, end)
        elif self.config.envoy_headers and (self._ended or stream.request_end):
            fields["x-envoy-upstream-service-time"] = str(int((now - self._began) * 1000))
        stream.response = response
        stream.response_code = status
        cluster.stats.count_response(status, internal=self._internal)
        if self._counts is not None:
            self._counts.codes[status] += 1
        stream.finalize_response(response)
        for cookie in stream.lb_cookies:
            response.add("set-cookie", cookie)
        route = stream.route
        if route is not None and route.include_attempt_count_in_response:
            fields["x-envoy-attempt-count"] = str(stream.attempt_count)
        if end:
            self._response_ended(cluster)
        stream.send_headers(response, end)

    def _end_handshake(self, response: ResponseHeaders, end: bool) -> bool:
        """The answer to a request for an upgrade. Returns whether it is the whole response."""
        stream = self._stream
        status = response.status
        if status == 101 or (status < 300 and self._upgrade == "CONNECT"):
            stream.accept_upgrade()
        elif status == 200:
            # A 200 isn't an upgrade, and what follows it must not be taken for the tunnel's bytes.
            if self._upstream is not None:
                self._upstream.reset()
            response.remove("content-length")
            stream.details = "websocket_handshake_unsuccessful"
            return True
        return end

    def _response_ended(self, cluster: Cluster) -> None:
        self._upstream = None
        if self._whole_timer is not None:
            self._whole_timer.cancel()
            self._whole_timer = None
        milliseconds = int(((self._response_at or self.context.clock.now()) - self._began) * 1000)
        cluster.stats.count_time(milliseconds, internal=self._internal)
        if self._counts is not None:
            self._counts.times[milliseconds] += 1

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        if end:
            assert self._cluster is not None
            self._response_ended(self._cluster)
        self._stream.send_body(data, end)

    def on_upstream_trailers(self, trailers: Headers) -> None:
        assert self._cluster is not None
        self._response_ended(self._cluster)
        self._stream.send_trailers(trailers)

    def on_upstream_read_done(self) -> None:
        self._response_at = 0.0  # what follows comes later than the head
        self._stream.flush()

    # What goes wrong.

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        self._upstream = None
        host, self._host = self._host, None
        stream = self._stream
        cluster = self._cluster
        assert cluster is not None
        if detail:
            stream.upstream_transport_failure_reason = detail
        if reason is ResetReason.QUEUE_OVERFLOW:
            stream.upstream_host = stream.upstream_remote_address = ""
        elif host is not None:
            host.rq_error += 1
        if self._response_started:
            cause = reason.text.replace(" ", "_")
            self.config.rq_reset_after_downstream_response_started.inc()
            stream.reset(f"upstream_reset_after_response_started{{{cause}}}", reason.flag)
            return
        retry = self._retry
        if retry is not None and retry.wants_reset(reason, sent=self._request_sent) and self._may_retry(retry, host):
            return
        self._fail(upstream_reset(reason, detail, retried=stream.attempt_count > 1))

    def _fail(self, reply: LocalReply) -> None:
        """Answer for an upstream that didn't."""
        cluster = self._cluster
        assert cluster is not None
        stream = self._stream
        if self._upstream is not None:
            self._upstream.reset()
            self._upstream = None
        self._end_retry()
        cluster.stats.count_response(reply.status, internal=self._internal)
        if self._counts is not None:
            self._counts.codes[reply.status] += 1
        route = stream.route
        if route is not None and route.include_attempt_count_in_response and stream.attempt_count:
            headers = (("x-envoy-attempt-count", str(stream.attempt_count)), *reply.headers)
            reply = LocalReply(reply.status, reply.body, headers, reply.details, reply.flags)
        stream.reply(reply)
        stream.flush()

    def _timed_out(self) -> None:
        """The route's timeout: no more attempts."""
        self._whole_timer = None
        cluster = self._cluster
        assert cluster is not None
        cluster.stats.upstream_rq_timeout.inc()
        if self._counts is not None:
            self._counts.timeout += 1
        if self._host is not None:
            self._host.rq_timeout += 1
            if self._host.monitor is not None:
                self._host.monitor.on_failure(connected=True, timeout=True)
        if self._response_started:
            if self._upstream is not None:
                self._upstream.reset()
            self._stream.reset("response_timeout", "UT")
            return
        if self._no_content_on_timeout:
            self._fail(LocalReply(204, details="response_timeout", flags="UT"))
        else:
            self._fail(RESPONSE_TIMEOUT)

    def _try_timed_out(self) -> None:
        self._try_timer = None
        if self._response_started or self._upstream is None:
            return
        cluster = self._cluster
        assert cluster is not None
        cluster.stats.upstream_rq_per_try_timeout.inc()
        self._upstream.reset()
        self._upstream = None
        host, self._host = self._host, None
        if host is not None:
            host.rq_timeout += 1
            if host.monitor is not None:
                host.monitor.on_failure(connected=True, timeout=True)
        retry = self._retry
        if retry is not None and retry.wants_timeout() and self._may_retry(retry, host):
            return
        self._fail(PER_TRY_TIMEOUT)

    # Trying again.

    def _retry_response(self, retry: RetryState, response: ResponseHeaders, end: bool) -> bool:
        if not retry.wants_response(response):
            return False
        host = self._host
        if not self._may_retry(retry, host):
            return False
        assert self._cluster is not None
        self._cluster.stats.count_retry_response(response.status)
        if not end and self._upstream is not None:
            self._upstream.reset()
        self._upstream = None
        return True

    def _may_retry(self, retry: RetryState, host: Host | None) -> bool:
        """Take another attempt if there is one left, and plan it."""
        cluster = self._cluster
        assert cluster is not None
        self._end_retry()
        if retry.left <= 0:
            cluster.stats.upstream_rq_retry_limit_exceeded.inc()
            if self._counts is not None:
                self._counts.retry_limit_exceeded += 1
            self._stream.add_flag("URX")
            return False
        if not cluster.try_retry(self._action.priority):
            cluster.stats.upstream_rq_retry_overflow.inc()
            if self._counts is not None:
                self._counts.retry_overflow += 1
            return False
        self._retrying = True
        self._stream.upstream_transport_failure_reason = ""
        if host is not None:
            self._tried = (*self._tried, host)
        self._host = None
        if self._try_timer is not None:
            self._try_timer.cancel()
            self._try_timer = None
        cluster.stats.upstream_rq_retry.inc()
        if self._counts is not None:
            self._counts.retry += 1
        cluster.stats.upstream_rq_retry_backoff_exponential.inc()
        self.on_upstream_blocked(False)  # the attempt that is over can't say so any more
        self._retry_timer = self._stream.schedule(retry.next_delay(), self._try_again)
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
        self._tell_time_left(stream)
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

    def _tell_time_left(self, stream: Stream) -> None:
        """What the next attempt may take, of the time that the whole request has."""
        fields = stream.request.fields
        timeouts = self._timeouts
        if not timeouts.whole or "x-envoy-expected-rq-timeout-ms" not in fields:
            return
        left = max(timeouts.whole - (self.context.clock.now() - self._began), 0.001)
        expected = min(timeouts.per_try, left) if timeouts.per_try else left
        fields["x-envoy-expected-rq-timeout-ms"] = str(int(expected * 1000))
