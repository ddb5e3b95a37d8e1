"""Hedging: an attempt that takes longer than its per-try timeout goes on, and the next one runs beside it.

(envoy.config.route.v3.HedgePolicy, `x-envoy-hedge-on-per-try-timeout`.) The first good response wins and the others are
reset. A response that would have been worth a retry, or a reset, only takes its attempt out of the race while another
one is still running or about to start; the last one left is what the client gets.

Without hedging there is no race, and the router itself is the sink of its one attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.plugin.context import Stream
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import Host, HttpUpstream

if TYPE_CHECKING:
    from meshproxy_filters.http.router.attempts import Attempts


class Contender:
    """The sink of one attempt in a race. It speaks for the router while it is the latest, and again once it has won."""

    __slots__ = ("_race", "host", "upstream")

    def __init__(self, race: Race, host: Host) -> None:
        self._race = race
        self.host = host
        self.upstream: HttpUpstream | None = None

    @property
    def stream_info(self) -> Stream | None:
        """Of the request that all of them are for."""
        return self._race.router.stream_info

    @property
    def _router(self) -> Attempts | None:
        race = self._race
        return race.router if race.current is self else None

    def on_upstream_ready(self, upstream: HttpUpstream) -> None:
        self.upstream = upstream
        if (router := self._router) is not None:
            router.on_upstream_ready(upstream)

    def on_upstream_informational(self, response: ResponseHeaders) -> None:
        if (router := self._router) is not None:
            router.on_upstream_informational(response)

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        if (router := self._router) is not None:
            router.on_upstream_response(response, end)
        else:
            self._race.answered(self, response, end)

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        if (router := self._router) is not None:
            router.on_upstream_body(data, end)

    def on_upstream_trailers(self, trailers: Headers) -> None:
        if (router := self._router) is not None:
            router.on_upstream_trailers(trailers)

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        if (router := self._router) is not None:
            router.on_upstream_reset(reason, detail)
        else:
            self._race.lost(self, reason, detail)

    def on_upstream_blocked(self, blocked: bool) -> None:
        if (router := self._router) is not None:
            router.on_upstream_blocked(blocked)

    def on_upstream_read_done(self) -> None:
        if (router := self._router) is not None:
            router.on_upstream_read_done()


class Race:
    """The attempts of one request. current: the latest, or the winner. late: those that were overtaken."""

    __slots__ = ("current", "late", "router")

    def __init__(self, router: Attempts) -> None:
        self.router = router
        self.current: Contender | None = None
        self.late: list[Contender] = []

    def enter(self, host: Host) -> Contender:
        """A new attempt starts."""
        self.current = Contender(self, host)
        return self.current

    def overtake(self, upstream: HttpUpstream) -> None:
        """The current attempt took too long; another will start."""
        assert self.current is not None
        self.current.upstream = upstream
        self.late.append(self.current)
        self.current = None

    def answered(self, contender: Contender, response: ResponseHeaders, end: bool) -> None:
        """A late attempt has an answer after all."""
        if contender not in self.late:
            return
        self.late.remove(contender)
        router = self.router
        if router.would_retry(response) and (self.late or router.has_more()):
            contender.host.rq_error += 1
            if not end and contender.upstream is not None:
                contender.upstream.reset()
            return
        router.give_way(contender)
        self.current = contender
        router.on_upstream_response(response, end)

    def lost(self, contender: Contender, reason: ResetReason, detail: str) -> None:
        """A late attempt was reset."""
        if contender not in self.late:
            return
        self.late.remove(contender)
        router = self.router
        contender.host.rq_error += 1
        if self.late or router.has_more():
            router.count_lost(reason.status)
        else:
            router.fail_with(reason, detail)

    def end(self) -> list[Contender]:
        """The race is over: reset whoever is late. Returns them."""
        late, self.late = self.late, []
        for contender in late:
            if contender.upstream is not None:
                contender.upstream.reset()
        return late
