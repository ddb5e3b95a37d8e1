"""What the router knows of a request while it is under way, in one place for the parts that the router is made of.

`router_again` decides about further attempts, `router_attempts` makes them and takes their answers, `router` stands
towards the client. Class-level defaults: a fact that isn't set costs a stream nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from meshproxy.headers import Headers
from meshproxy.model.listener import FilterSpec
from meshproxy.model.route import ForwardAction
from meshproxy.model.route_counts import RouteCounts
from meshproxy.plugin.context import Stream, Timer
from meshproxy.plugin.http import TerminalHttpFilter
from meshproxy.plugin.stats import Counter
from meshproxy.plugin.upstream import Cluster, Host, HttpUpstream
from meshproxy.records import dataclass
from meshproxy_filters.http.router.hedge import Race
from meshproxy_filters.http.router.log import UpstreamLog
from meshproxy_filters.http.router.mirror import Mirror
from meshproxy_filters.http.router.redirect import RedirectStats
from meshproxy_filters.http.router.retry import RetryRules, RetryState
from meshproxy_filters.http.router.timeouts import NO_TIMEOUTS, Timeouts


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """Compiled options. envoy_headers: `suppress_envoy_headers` is off.

    strict: control fields whose values are checked. respects_expected: the time that a proxy before us gave the request
    counts as the route's timeout. counts_all: responses are counted by status and time; counts_grpc: to gRPC, too.
    special: one of those is other than usual, respects_expected left out. uses_retry: draws whether an attempt may be
    followed by another (the runtime's `upstream.use_retry`). scheme_of_upstream: see `FactoryContext`.
    """

    envoy_headers: bool
    no_route: Counter
    no_cluster: Counter
    rq_total: Counter
    rq_direct_response: Counter
    rq_reset_after_downstream_response_started: Counter
    start_child_span: bool
    redirects: RedirectStats
    upstream_log: UpstreamLog | None = None
    upstream_filters: tuple[FilterSpec, ...] = ()
    strict: tuple[str, ...] = ()
    respects_expected: bool = False
    counts_all: bool = True
    counts_grpc: bool = True
    uses_retry: Callable[[], bool] = _always
    scheme_of_upstream: bool = False
    special: bool = field(init=False)

    def __post_init__(self) -> None:
        usual = self.counts_all and self.counts_grpc and self.upstream_log is None
        unusual = not usual or self.scheme_of_upstream or bool(self.strict or self.upstream_filters)
        object.__setattr__(self, "special", unusual)


class RouterState(TerminalHttpFilter[RouterConfig]):
    """The state of one request.

    _rules: after what another attempt is wanted; None: there is none. _retry: comes to be with the first retry.
    _tried: hosts that failed it. _kept: the body so far, while another attempt could need it. _ended: the request is
    complete. _race: attempts beside `_upstream` that may still answer, with hedging. _mirrors: copies under way.
    _quiet: responses aren't counted by status. _looks_on: something stands between attempts and us (`router_carried`).
    _completed_at: when the request had come whole, noted where a share of the timeout is measured. _reported: the
    response's head had a load report.
    _extras: a timer, a retry, a race or mirrors were begun; nearly always none was, and then nobody asks for each.
    """

    _stream: Stream
    _action: ForwardAction
    _cluster: Cluster | None = None
    _upstream: HttpUpstream | None = None
    _host: Host | None = None
    _tried: tuple[Host, ...] = ()
    _rules: RetryRules | None = None
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
    _informed: bool = False
    _counts: tuple[RouteCounts, ...] = ()
    _no_content_on_timeout: bool = False
    _idle_timer: Timer | None = None
    _heard_at: float = 0.0
    _race: Race | None = None
    _mirrors: tuple[Mirror, ...] = ()
    _extras: bool = False
    _after_timeout: bool = False
    _quiet: bool = False
    _looks_on: bool = False
    _completed_at: float = 0.0
    _reported: bool = False
