"""The router's attempts: one request to one host after the other, until one is answered or none is left.

Theory. At any time there is at most one attempt, `_upstream`; the filter itself is its sink. An attempt ends in one of
four ways: its response is complete, it was reset, it took too long, or the client's side ended. Until a response head
has gone downstream each of them may lead to another attempt; afterwards none does.

Invariants:
- an attempt that is given up is `reset()`, and then nothing more is heard of it;
- each attempt that had a host is counted once in `upstream_rq_*`, the last one without the `retry.` prefix.
"""

from __future__ import annotations

from dataclasses import replace

from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.plugin.context import Stream
from meshproxy.plugin.replies import (
    MAX_UPSTREAM_DURATION,
    NO_HEALTHY_UPSTREAM,
    REQUEST_UPSTREAM_DURATION,
    RESPONSE_TIMEOUT,
    LocalReply,
    ResetReason,
    upstream_reset,
)
from meshproxy.plugin.upstream import Cluster, HttpUpstream, HttpUpstreamSink
from meshproxy_filters.http.router.carried import Carried
from meshproxy_filters.http.router.hedge import Contender
from meshproxy_filters.http.router.sending import Sending
from meshproxy_filters.http.router.timeouts import is_grpc
from meshproxy_filters.http.router.tunnel import ConnectTunnel

_NO_UPGRADE = "websocket_handshake_unsuccessful"
_KNOWN_INFORMATIONAL = (100, 102, 103, 104)
"""Of which the first is passed on, as in Envoy; the others are dropped."""


class Attempts(Sending):
    """What the router does towards hosts; `Router` adds what it does towards the client."""

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
        if self._retrying and self._retry is not None:
            host = cluster.pick(stream, self._retry.choice(self._tried))
        else:
            host = cluster.find_host(stream.lb_override) if stream.lb_override else None
            if host is None and not stream.lb_override_strict:
                host = cluster.pick(stream)
        if host is None:
            status = stream.lb_override_status if stream.lb_override_strict else 0
            self._fail(replace(NO_HEALTHY_UPSTREAM, status=status) if status else NO_HEALTHY_UPSTREAM)
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
        end = stream.request_end or (self._ended and not self._kept)
        if stream.span is not None:
            stream.span.start_attempt(stream, spawns=self.config.start_child_span)
        sink: HttpUpstreamSink = self if self._race is None else self._race.enter(host)
        carried: list[Carried] = []
        if self._looks_on:
            sink, reply = self._carry(carried, host, sink)
            if reply is not None:
                self._fail(reply)
                return
        if action.ends_connect and stream.request.method in action.tunnel_methods:
            upstream: HttpUpstream = ConnectTunnel(cluster, host, sink, action.connect_header)
        else:
            upstream = cluster.request(
                host,
                stream.request,
                end,
                sink,
                priority=action.priority,
                protocol=stream.protocol,
                alpn=stream.alpn_override,
            )
        for each in reversed(carried):
            upstream = each.carry(upstream)
        if self._host is None or stream.done:
            return  # it failed before `request` returned
        if self._upstream is None:
            self._upstream = upstream
            if upstream.local_address:
                self._request_sent = True
                for counts in self._counts:
                    counts.total += 1
                self._note_upstream(upstream)
                if self._timeouts.limits_tries and (self._ended or stream.request_end):
                    self._start_try_timers()
                if stream.half_closed:
                    self._half_close(upstream)

    def on_upstream_ready(self, upstream: HttpUpstream) -> None:
        self._upstream = upstream
        self._request_sent = True
        for counts in self._counts:
            counts.total += 1
        self._note_upstream(upstream)
        if self._timeouts.limits_tries and (self._ended or self._stream.request_end):
            self._start_try_timers()
        if self._stream.half_closed:
            self._half_close(upstream)

    def on_upstream_blocked(self, blocked: bool) -> None:
        if blocked != self._request_blocked:
            self._request_blocked = blocked
            self._stream.read_disable(blocked)

    # The response.

    def on_upstream_informational(self, response: ResponseHeaders) -> None:
        self._count(response.status)
        if response.status not in _KNOWN_INFORMATIONAL:
            return
        # As Envoy: once the client has heard of this attempt there is no other, and what becomes of it isn't counted.
        first = not self._informed
        self._informed = True
        self._rules = None
        self._stop_try_timer()
        if first:
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
            if host.checked is not None and "x-envoy-immediate-health-check-fail" in response.fields:
                host.checked.on_immediate_failure()
            if host.loads is not None:
                self._reported = host.loads.on_answer(response)
        rules = self._rules
        if rules is not None and rules.wants_response(response) and self._retry_response(rules, response, end):
            return
        if self._extras:
            if self._action.redirects is not None and self._follows(self._action.redirects, response, end):
                return
            self._settle(cluster)
        self._response_started = True
        self._kept = None
        now = self._response_at = self.context.clock.now()
        stream.first_upstream_rx = now
        fields = response.fields
        stream.details = "via_upstream"
        if self._upgrade:
            end = self._end_handshake(response, end)
        if self.config.envoy_headers and self._request_over():
            fields["x-envoy-upstream-service-time"] = str(int((now - self._began) * 1000))
        stream.response = response
        stream.response_code = status
        if self._quiet:
            self._count(status)
        elif not self._upgrade or stream.details != _NO_UPGRADE:  # which Envoy doesn't count
            cluster.stats.count_response(status, internal=self._internal)
            for counts in self._counts:
                counts.codes[status] += 1
        stream.finalize_response(response)
        for cookie in stream.lb_cookies:
            response.add("set-cookie", cookie)
        route = stream.route
        if route is not None and route.include_attempt_count_in_response:
            fields["x-envoy-attempt-count"] = str(stream.attempt_count)
        if end:
            self._response_ended(cluster)
        stream.send_headers(response, end)

    def _settle(self, cluster: Cluster) -> None:
        """An attempt has been answered: no other is needed."""
        self._stop_try_timer()
        if self._race is not None:
            self._race.end()
        if self._retrying:
            cluster.stats.upstream_rq_retry_success.inc()
            for counts in self._counts:
                counts.retry_success += 1
            self._end_retry()

    def _end_handshake(self, response: ResponseHeaders, end: bool) -> bool:
        """The answer to a request for an upgrade. Returns whether it is the whole response."""
        stream = self._stream
        status = response.status
        connect = self._upgrade == "CONNECT"
        if status == 101 or (connect and status < 300):
            if self._whole_timer is not None:
                self._whole_timer.cancel()  # it was for the handshake
                self._whole_timer = None
            stream.accept_upgrade()
        elif not connect and (status == 200 or (status < 400 and stream.upstream_protocol != "HTTP/2")):
            # This isn't an upgrade, and what follows it must not be taken for the tunnel's bytes.
            if self._upstream is not None:
                self._upstream.reset()
            response.remove("content-length")
            response.remove("content-type")
            stream.details = _NO_UPGRADE
            return True
        return end

    def _request_over(self) -> bool:
        stream = self._stream
        return stream.half_closed if self._upgrade else self._ended or stream.request_end

    def _response_ended(self, cluster: Cluster) -> None:
        self._upstream = None
        if self._whole_timer is not None:
            self._whole_timer.cancel()
            self._whole_timer = None
        milliseconds = int(((self._response_at or self.context.clock.now()) - self._began) * 1000)
        if self.config.counts_all and not self._stream.health_check and self._request_over():
            cluster.stats.count_time(milliseconds, internal=self._internal)
            for counts in self._counts:
                counts.times[milliseconds] += 1

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        if end:
            assert self._cluster is not None
            self._response_ended(self._cluster)
        self._stream.send_body(data, end)

    def on_upstream_trailers(self, trailers: Headers) -> None:
        assert self._cluster is not None
        if self._host is not None and self._host.loads is not None and not self._reported:
            self._host.loads.on_answer(trailers)
        self._response_ended(self._cluster)
        self._stream.send_trailers(trailers)

    def on_upstream_read_done(self) -> None:
        self._response_at = 0.0  # what follows comes later than the head
        if self._idle_timer is not None:
            self._heard_at = self.context.clock.now()
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
            if is_grpc(stream.request):  # of which alone Envoy waits for the end to know how it went
                self.config.rq_reset_after_downstream_response_started.inc()
            stream.reset(f"upstream_reset_after_response_started{{{cause}}}", reason.flag)
            return
        rules = self._rules
        if rules is not None and rules.wants_reset(reason, sent=self._request_sent) and self._may_retry(rules, host):
            return
        if self._race is not None and self._race.late:
            self.count_lost(reason.status)
        else:
            self.fail_with(reason, detail)

    def _count(self, status: int) -> None:
        """Count a response of the cluster's, or what was answered for it."""
        assert self._cluster is not None
        if not self._quiet:
            self._cluster.stats.count_response(status, internal=self._internal)
        elif self.config.counts_all and not self._stream.health_check:
            self._cluster.stats.upstream_rq_completed.inc()

    def fail_with(self, reason: ResetReason, detail: str) -> None:
        """Answer for an attempt that was reset, and no other is left."""
        retried = self._stream.attempt_count > 1
        self._fail(upstream_reset(reason, detail, retried=retried, informed=self._informed))

    def _fail(self, reply: LocalReply) -> None:
        """Answer for an upstream that didn't."""
        cluster = self._cluster
        assert cluster is not None
        stream = self._stream
        if self._upstream is not None:
            self._upstream.reset()
            self._upstream = None
        self._end_retry()
        if self._informed:
            reply = replace(reply, details=reply.details.replace("_before_", "_after_"))
        else:
            self._count(reply.status)
        for counts in self._counts if not self._quiet else ():
            counts.codes[reply.status] += 1
        route = stream.route
        if route is not None and route.include_attempt_count_in_response and stream.attempt_count:
            headers = (*reply.headers, ("x-envoy-attempt-count", str(stream.attempt_count)))
            reply = LocalReply(reply.status, reply.body, headers, reply.details, reply.flags)
        stream.reply(reply)
        stream.flush()

    def _timed_out(self) -> None:
        """The route's timeout: no more attempts."""
        self._whole_timer = None
        cluster = self._cluster
        assert cluster is not None
        cluster.stats.upstream_rq_timeout.inc()
        if self._race is not None:
            for _ in self._race.end():
                cluster.stats.upstream_rq_timeout.inc()
                self.count_lost(RESPONSE_TIMEOUT.status)
        for counts in self._counts:
            counts.timeout += 1
        if self._host is not None:
            self._host.rq_timeout += 1
            if not self._response_started:
                self._host.rq_error += 1
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

    def _duration_reached(self, upstream: HttpUpstream) -> None:
        """The cluster's `max_stream_duration`, which each attempt has to itself."""
        if self._upstream is not upstream:
            return
        assert self._cluster is not None
        self._cluster.stats.upstream_rq_max_duration_reached.inc()
        upstream.reset()
        self._upstream = None
        host, self._host = self._host, None
        stream = self._stream
        if self._response_started:
            stream.reset(MAX_UPSTREAM_DURATION.details, MAX_UPSTREAM_DURATION.flags)
            return
        rules = self._rules
        if rules is not None and rules.wants_reset(ResetReason.LOCAL_RESET, sent=True) and self._may_retry(rules, host):
            return
        self._end_retry()
        # Which Envoy doesn't count as a response of the cluster.
        stream.reply(MAX_UPSTREAM_DURATION if self._ended or stream.request_end else REQUEST_UPSTREAM_DURATION)
        stream.flush()

    # A race of several attempts; see `router_hedge`.

    def would_retry(self, response: ResponseHeaders) -> bool:
        """Whether another attempt would be made after a response with this head, if there were one left."""
        return self._rules is not None and self._rules.wants_response(response)

    def has_more(self) -> bool:
        """Whether an attempt is under way, or about to start."""
        return self._upstream is not None or self._retry_timer is not None

    def count_lost(self, status: int) -> None:
        """An attempt that failed while others go on counts as the answer that it would have led to."""
        self._count(status)

    def give_way(self, winner: Contender) -> None:
        """A late attempt has won: end what is under way, and go on as if it were the only one."""
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
        if self._upstream is not None:
            self._upstream.reset()
        self._stop_try_timers()
        self._end_retry()  # that one didn't succeed
        stream = self._stream
        self._rules = None
        self._upstream = winner.upstream
        self._host = host = winner.host
        stream.upstream_host = stream.upstream_remote_address = host.text
        if winner.upstream is not None:
            self._note_upstream(winner.upstream)
