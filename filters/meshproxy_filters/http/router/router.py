"""The router: the terminal HTTP filter that carries a request to a cluster and its response back.

(envoy.extensions.filters.http.router.v3.Router; Envoy's documentation: "Router".) The route and the cluster's name have
been decided when it is called; it answers redirects and direct responses itself, and takes everything else through
attempts (`router_attempts`).

Invariant: the request's body is kept only while a retry could need it, and at most to the buffer limit.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.matching import FractionalPercent
from meshproxy.model.route import DirectResponseAction, ForwardAction, RedirectAction, VirtualCluster
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HeadersResult
from meshproxy.plugin.replies import (
    DROP_OVERLOAD,
    MAINTENANCE_MODE,
    NOT_FOUND,
    RETRY_BUFFER_EXCEEDED,
    UNCONDITIONAL_DROP_OVERLOAD,
    LocalReply,
    cluster_not_found,
)
from meshproxy.plugin.stats import StatNames
from meshproxy.plugin.upstream import Cluster
from meshproxy_filters.http.router.attempts import Attempts
from meshproxy_filters.http.router.hedge import Race
from meshproxy_filters.http.router.log import read_upstream_log
from meshproxy_filters.http.router.measure import percent_used
from meshproxy_filters.http.router.mirror import start_mirrors
from meshproxy_filters.http.router.redirect import RedirectStats
from meshproxy_filters.http.router.retry import RETRY_FIELDS, find_retry_rules, route_retry_rules
from meshproxy_filters.http.router.state import RouterConfig
from meshproxy_filters.http.router.strict import strict_refusal
from meshproxy_filters.http.router.subset import wanted_metadata
from meshproxy_filters.http.router.timeouts import find_timeouts, is_grpc, retry_timeouts, route_timeouts

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_OF_RETRIES = ("x-envoy-max-retries", "x-envoy-retriable-header-names", "x-envoy-retriable-status-codes")
_CONTROL = frozenset(
    (
        "x-envoy-hedge-on-per-try-timeout",
        *_OF_RETRIES,
        "x-envoy-retry-grpc-on",
        "x-envoy-retry-on",
        "x-envoy-upstream-alt-stat-name",
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-upstream-rq-timeout-alt-response",
        "x-envoy-upstream-rq-timeout-ms",
        *RETRY_FIELDS,
    )
)

ROUTER = StatNames(
    counters=(
        "rq_overload_local_reply",
        "rq_redirect",
    )
)
"""What Envoy shows besides the counters below, so that dashboards find it."""
_NO_HASH = frozenset(("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"))
"""Policies of load balancing that have no use for a hash."""


@lru_cache(64)
def _direct_reply(status: int, body: bytes) -> LocalReply:
    return LocalReply(status, body, details="direct_response")


def _format(action: DirectResponseAction, shaped: ResponseHeaders, stream: Stream) -> bytes:
    """The body of a direct response whose body is a format; the content type goes into `shaped`."""
    assert action.format_body is not None
    stream.local_reply_body = action.body.decode("latin-1")
    body = action.format_body(stream).encode("latin-1", "replace")
    stream.local_reply_body = ""
    if body and action.content_type != "text/plain":
        shaped["content-type"] = action.content_type
    return body


class Router(Attempts):
    """See the module."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> RouterConfig:
        suppress = view.boolean("suppress_envoy_headers")
        counter = context.stats.counter
        context.stats.declare(ROUTER)
        return RouterConfig(
            not suppress,
            counter("no_route"),
            counter("no_cluster"),
            counter("rq_total"),
            counter("rq_direct_response"),
            counter("rq_reset_after_downstream_response_started"),
            view.boolean("start_child_span"),
            RedirectStats(context.stats),
            upstream_log=read_upstream_log(view, context),
            upstream_filters=context.compile_upstream_filters(view.views("upstream_http_filters")),
            strict=tuple(view.texts("strict_check_headers")),
            respects_expected=view.boolean("respect_expected_rq_timeout"),
            counts_all=view.boolean("dynamic_stats", True),
            counts_grpc=not view.boolean("suppress_grpc_request_failure_code_stats"),
            scheme_of_upstream=context.scheme_of_upstream,
            uses_retry=context.runtime.share("upstream.use_retry", FractionalPercent(100)).sampler(context.rng),
        )

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> HeadersResult:
        self._stream = stream
        config = self.config
        config.rq_total.value += 1
        route = stream.route
        if route is None:
            config.no_route.value += 1
            stream.reply(NOT_FOUND)
            return None
        action = route.action
        if type(action) is not ForwardAction:
            self._answer(action, request, stream)
            return None
        cluster = stream.clusters.get(stream.cluster_name) if stream.cluster_name else None
        if cluster is None:
            config.no_cluster.value += 1
            stream.upstream_cluster = ""
            stream.reply(cluster_not_found(action.cluster_not_found_status))
            return None
        if (config.special or stream.health_check) and self._treat_specially(request):
            return None
        self._cluster = cluster
        self._counts = route.counts
        if cluster.is_special:
            action = cluster.config.policies.on(action)
            if self._obey_cluster(cluster, action, stream):
                return None
        self._action = action
        if route.virtual_clusters:
            self._count_virtual_cluster(route.virtual_clusters, request)
        self._internal = request.fields.get("x-envoy-internal") == "true"
        fields = request.fields
        policy = action.retry_policy
        if (
            not _CONTROL.isdisjoint(fields)
            or (policy is not None and action.hedges)
            or config.respects_expected
            or action.max_grpc_timeout is not None
        ):
            self._obey(action, request)
        else:
            if policy is None:
                timeouts = route_timeouts(action)
            else:
                timeouts = retry_timeouts(action)
                self._rules = route_retry_rules(policy, request)
                if self._rules is not None and not stream.request_end:
                    self._kept = []
            self._timeouts = timeouts
            if timeouts.expected and config.envoy_headers:
                fields["x-envoy-expected-rq-timeout-ms"] = timeouts.expected
        if route.include_request_attempt_count:
            fields["x-envoy-attempt-count"] = "1"
        if request.method == "CONNECT":
            self._upgrade = "CONNECT"
        elif "upgrade" in fields:
            self._upgrade = fields["upgrade"]
        stream.attempt_count = 1
        stream.finalize_request(tell_original=config.envoy_headers)
        if action.hash_policy is not None and cluster.config.lb_policy not in _NO_HASH:
            action.hash_policy(stream)  # which may make a cookie: only for who asks for the hash, as in Envoy
        if action.redirects is not None:
            self._extras = True
            if not stream.request_end:
                self._kept = []
        if action.mirrors:
            self._extras = True
            self._mirrors = start_mirrors(action.mirrors, stream, self._timeouts.whole, self.context.rng)
        if cluster.forwarding is not None:
            found = cluster.forwarding.look_up(stream)
            if found is not None:
                return self._attempt_later(found)
        self._attempt()
        self._head_sent()
        return None

    def _treat_specially(self, request: RequestHeaders) -> bool:
        """What few routers are configured for. Returns whether the request was answered."""
        config = self.config
        refusal = strict_refusal(config.strict, request)
        if refusal is not None:
            self._stream.reply(refusal)
            return True
        self._looks_on = config.upstream_log is not None or bool(config.upstream_filters) or config.scheme_of_upstream
        self._quiet = (
            not config.counts_all or self._stream.health_check or (not config.counts_grpc and is_grpc(request))
        )
        return False

    async def _attempt_later(self, found: LocalReply | Awaitable[LocalReply | None]) -> None:
        """The cluster has to find out about the host first."""
        reply = found if isinstance(found, LocalReply) else await found
        stream = self._stream
        if stream.done:
            return
        if reply is not None:
            self._fail(reply)
            return
        self._attempt()
        self._head_sent()

    def _obey_cluster(self, cluster: Cluster, action: ForwardAction, stream: Stream) -> bool:
        """What some clusters say of requests to them. Returns whether the request was answered."""
        config = cluster.config
        if config.alt_stat_name:
            stream.upstream_cluster_alt = config.alt_stat_name
        if config.subsets is not None:
            stream.lb_metadata = wanted_metadata(action, stream)
        if config.metadata:
            stream.upstream_cluster_metadata = config.metadata
        if cluster.measures is not None:
            self._looks_on = self._extras = True
        if config.policies.filters:
            self._looks_on = True
        if cluster.maintenance.possible and cluster.maintenance.covers(self.context.rng.getrandbits(32)):
            cluster.stats.upstream_rq_maintenance_mode.inc()
            cluster.dropped += 1
            self._fail(MAINTENANCE_MODE)
            return True
        if cluster.drop_overload and self.context.rng.random() * 100 < cluster.drop_overload:
            cluster.dropped += 1
            cluster.shed += 1
            self._fail(UNCONDITIONAL_DROP_OVERLOAD if cluster.drop_overload >= 100.0 else DROP_OVERLOAD)
            return True
        return False

    def _count_virtual_cluster(self, clusters: tuple[VirtualCluster, ...], request: RequestHeaders) -> None:
        """The first one whose conditions hold; the last one has none."""
        for cluster in clusters:
            if all(condition(request, self._stream) for condition in cluster.conditions):
                self._stream.virtual_cluster_name = cluster.name
                self._counts = (*self._counts, cluster.counts)
                return

    def _obey(self, action: ForwardAction, request: RequestHeaders) -> None:
        """Timeouts and retries as the route's policy and the request's own control fields ask for them."""
        policy = action.retry_policy
        if request.remove("x-envoy-upstream-rq-timeout-alt-response"):
            self._no_content_on_timeout = True
        hedges = action.hedges
        if "x-envoy-hedge-on-per-try-timeout" in request.fields:
            hedges = {"true": True, "false": False}.get(request["x-envoy-hedge-on-per-try-timeout"], hedges)
            request.remove("x-envoy-hedge-on-per-try-timeout")
        if hedges:
            self._extras = True
            self._race = Race(self)
        self._timeouts = find_timeouts(
            action, request, hedges=hedges, tell=self.config.envoy_headers, respects=self.config.respects_expected
        )
        if policy is not None or "x-envoy-retry-on" in request.fields or "x-envoy-retry-grpc-on" in request.fields:
            self._rules = find_retry_rules(policy, request)
            if self._rules is not None and not self._stream.request_end:
                self._kept = []
        request.remove("x-envoy-upstream-alt-stat-name")
        for name in _OF_RETRIES:
            request.remove(name)

    def _answer(self, action: object, request: RequestHeaders, stream: Stream) -> None:
        """A route that forwards nothing: redirect or direct response."""
        stream.details = "direct_response"
        if not isinstance(action, RedirectAction | DirectResponseAction):
            stream.reply(cluster_not_found(503))
            return
        self.config.rq_direct_response.value += 1  # as Envoy, whose `rq_redirect` stays at zero
        stream.finalize_request()
        shaped, body = ResponseHeaders(200), b""
        if action.location is not None:
            shaped["location"] = action.location(request, stream)
        if isinstance(action, DirectResponseAction):
            body = action.body
        elif action.rewrite_path is not None:  # which Envoy's log shows
            if self.config.envoy_headers:
                request["x-envoy-original-path"] = request.path
            request.path = action.rewrite_path(request.path)
        stream.finalize_response(shaped)
        if isinstance(action, DirectResponseAction) and action.format_body is not None:
            body = _format(action, shaped, stream)
        elif not shaped.fields:
            stream.reply(_direct_reply(action.status, body))
            return
        stream.reply(LocalReply(action.status, body, headers=tuple(shaped.items()), details="direct_response"))

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> None:
        self._pass_on(data, end)
        if end:
            self._request_ended()

    def _pass_on(self, data: bytes, end: bool) -> None:
        if self._kept is not None and data:
            self._kept.append(data)
            self._kept_size += len(data)
            if self._kept_size > self._body_limit():
                self._give_retries_up()
        if end:
            self._ended = True
        if self._upstream is not None:
            self._upstream.send_body(data, end)
        for mirror in self._mirrors:
            mirror.send_body(data, end)

    def _body_limit(self) -> int:
        route = self._stream.route
        limit = route.request_buffer_limit if route is not None else None
        return limit if limit is not None else 1 << 20

    def _give_retries_up(self) -> None:
        """The body is too long to be kept: what has been sent can't be sent again."""
        self._kept = None
        self._rules = None
        if self._cluster is not None:
            self._cluster.stats.retry_or_shadow_abandoned.inc()
        if self._retry_timer is not None:
            # No attempt is under way that could take the body, and the next one wouldn't get its beginning.
            self._retry_timer.cancel()
            self._retry_timer = None
            self._fail(RETRY_BUFFER_EXCEEDED)

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> None:
        if self._kept is not None:
            self._kept.append(trailers)
        self._ended = True
        if self._upstream is not None:
            self._upstream.send_trailers(trailers)
        for mirror in self._mirrors:
            mirror.send_trailers(trailers)
        self._request_ended()

    def _head_sent(self) -> None:
        if self._stream.done:
            return
        if self._upgrade and self._upgrade != "CONNECT":
            self._begin_timeouts()  # of the answer to the handshake
        if self._stream.request_end:
            self._request_ended()

    def _request_ended(self) -> None:
        """The clock of the route's timeout starts when the request is complete."""
        self._ended = True
        if not self._upgrade:
            self._begin_timeouts()

    def _begin_timeouts(self) -> None:
        timeouts = self._timeouts
        stream = self._stream
        if stream.done or self._cluster is None:
            return
        if self._looks_on:
            self._completed_at = self.context.clock.now()
        if timeouts.whole > 0:
            self._extras = True
            self._whole_timer = stream.schedule(timeouts.whole, self._timed_out)
        if timeouts.limits_tries and self._upstream is not None and self._request_sent:
            self._start_try_timers()

    def on_request_read_done(self, stream: Stream) -> None:
        if self._upstream is not None:
            self._upstream.flush()
        for mirror in self._mirrors:
            mirror.flush()

    def on_response_blocked(self, blocked: bool, stream: Stream) -> None:
        self._blocked = blocked
        if self._upstream is not None:
            self._upstream.read_disable(blocked)

    def on_stream_complete(self, stream: Stream) -> None:
        if self._extras:
            self._end_extras()
        upstream = self._upstream
        if upstream is not None:
            self._upstream = None
            upstream.reset()

    def _end_extras(self) -> None:
        for timer in (self._whole_timer, self._try_timer, self._retry_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        if self._completed_at and self._cluster is not None:
            measures = self._cluster.measures
            if measures is not None and measures.budget is not None:
                used = self.context.clock.now() - self._completed_at
                measures.budget.record(percent_used(used, self._timeouts.whole))
        if self._race is not None:
            self._race.end()
        if self._mirrors and not self._ended:
            for mirror in self._mirrors:
                mirror.reset()
        if self._cluster is not None:
            self._end_retry()
