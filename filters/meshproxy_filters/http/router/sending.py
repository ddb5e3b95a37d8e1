"""What goes along with an attempt to its host: who looks on, the host's own name, what is noted of the connection."""

from __future__ import annotations

from functools import partial

from meshproxy.plugin.replies import LocalReply, ResetReason
from meshproxy.plugin.upstream import Host, HttpUpstream, HttpUpstreamSink
from meshproxy_filters.http.router.again import Again
from meshproxy_filters.http.router.carried import Carried
from meshproxy_filters.http.router.filters import FilteredAttempt
from meshproxy_filters.http.router.log import LoggedAttempt
from meshproxy_filters.http.router.measure import MeasuredAttempt


class Sending(Again):
    """See the module. What isn't here comes from the router that extends it."""

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        """See `HttpUpstreamSink`."""
        raise NotImplementedError  # the router gives it

    def _duration_reached(self, upstream: HttpUpstream) -> None:
        """The cluster's `max_stream_duration` is over."""
        raise NotImplementedError  # the router gives it

    def _carry(
        self, carried: list[Carried], host: Host, sink: HttpUpstreamSink
    ) -> tuple[HttpUpstreamSink, LocalReply | None]:
        """Who looks at the attempt goes into `carried`. Returns the sink of the request to the host, and what a filter
        answers in its place."""
        stream, config, clock = self._stream, self.config, self.context.clock
        cluster = self._cluster
        assert cluster is not None
        if config.scheme_of_upstream:
            stream.request.scheme = "https" if cluster.encrypts(host) else "http"
        if config.upstream_log is not None:
            sink = LoggedAttempt(config.upstream_log, stream, host, sink, clock)
            carried.append(sink)
        if cluster.measures is not None:
            sink = MeasuredAttempt(cluster.measures, stream, host, sink, clock, self._timeouts.per_try)
            carried.append(sink)
        filters = cluster.config.policies.filters or config.upstream_filters
        if not filters:
            return sink, None
        filtered = FilteredAttempt(filters, stream, host, sink)
        carried.append(filtered)
        return filtered, filtered.reply

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
        cluster = self._cluster
        if cluster is not None and cluster.config.max_stream_duration:
            stream.schedule(cluster.config.max_stream_duration, partial(self._duration_reached, upstream))

    def _half_close(self, upstream: HttpUpstream) -> None:
        """The client of a CONNECT has ended its stream with the head. A tunnel through HTTP/1 has no end but that of
        its connection: as in Envoy it is closed before its host answers."""
        if self._upgrade != "CONNECT":
            return
        if upstream.protocol == "HTTP/1.1":
            upstream.reset()
            self.on_upstream_reset(ResetReason.CONNECTION_TERMINATION, "")
        elif upstream.protocol == "HTTP/2":
            upstream.send_body(b"", True)
