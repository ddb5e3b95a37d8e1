"""What the fault filter is configured with (envoy.extensions.filters.http.fault.v3.HTTPFault).

Every fault has a share of requests that it hits. A fault `by header` is asked for by the request itself; a header may
also lower the share, never raise it. Runtime values override the numbers, under Envoy's keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from meshproxy.headers import RequestHeaders
from meshproxy.matching import FractionalPercent, HeaderMatcher, parse_int64
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live, Share, constant

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

ABORT_HEADER = "x-envoy-fault-abort-request"
ABORT_GRPC_HEADER = "x-envoy-fault-abort-grpc-request"
DELAY_HEADER = "x-envoy-fault-delay-request"
THROUGHPUT_HEADER = "x-envoy-fault-throughput-response"
_NO_LIMIT = 1 << 62
_NOTHING = constant(0)
_UNLIMITED = constant(_NO_LIMIT)


class FaultStats:
    """`http.<prefix>.fault.`. Counters per downstream cluster aren't kept: a client could make any number of them."""

    def __init__(self, scope: StatsScope) -> None:
        self.delays_injected = scope.counter("delays_injected")
        self.aborts_injected = scope.counter("aborts_injected")
        self.response_rl_injected = scope.counter("response_rl_injected")
        self.faults_overflow = scope.counter("faults_overflow")
        self.active_faults = scope.gauge("active_faults")


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    share: of the requests. value: milliseconds, status or bytes per second; for `by header` it stands in the request.
    header: the request header with the value; "" for a fixed one. percentage_header: one that may lower the share.
    """

    share: Share
    value: Live[int] = _NOTHING
    header: str = ""
    percentage_header: str = ""
    grpc: bool = False

    def hits(self, request: RequestHeaders, number: int) -> bool:
        """Whether this random number falls into the share, lowered by what the request says."""
        share: Share = self.share
        if self.percentage_header:
            text = request.get(self.percentage_header)
            lowered = None if text is None else parse_int64(text)
            if lowered is not None and 0 <= lowered < share.numerator:
                share = FractionalPercent(lowered, share.denominator)
        return share.covers(number)

    def number_in(self, request: RequestHeaders) -> int | None:
        """The value that the request asks for; None when it asks for none."""
        text = request.get(self.header)
        number = None if text is None else parse_int64(text)
        return number if number is not None and number >= 0 else None


@dataclass(frozen=True, slots=True, eq=False)
class FaultConfig:
    """A fault that is None, or whose share is empty, isn't injected. metadata: that a stream with a fault gets."""

    stats: FaultStats
    delay: Fault | None = None
    abort: Fault | None = None
    abort_body: bytes = b"fault filter abort"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    limit: Fault | None = None
    upstream_cluster: str = ""
    headers: tuple[HeaderMatcher, ...] = ()
    nodes: frozenset[str] = frozenset()
    max_active: Live[int] = _UNLIMITED

    @property
    def is_active(self) -> bool:
        """Whether any request can meet a fault."""
        return any(fault is not None and fault.share.possible for fault in (self.delay, self.abort, self.limit))

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> FaultConfig:
        """Read the message. Raises ConfigError."""
        view.boolean("disable_downstream_cluster_stats")  # there are none, see FaultStats
        runtime = _Runtime(view, context)
        metadata = view.struct("filter_metadata")
        delay, abort, limit = view.view("delay"), view.view("abort"), view.view("response_rate_limit")
        max_active = view.integer("max_active_faults", _NO_LIMIT)
        runtime.pass_over(view, delay, "delay_percent_runtime", "delay_duration_runtime")
        runtime.pass_over(
            view, abort, "abort_percent_runtime", "abort_http_status_runtime", "abort_grpc_status_runtime"
        )
        runtime.pass_over(view, limit, "response_rate_limit_percent_runtime")
        return cls(
            stats=FaultStats(context.stats.scope("fault.")),
            delay=_read_delay(delay, runtime) if delay is not None else None,
            abort=_read_abort(abort, runtime) if abort is not None else None,
            abort_body=_read_abort_body(abort),
            metadata=metadata.value if metadata is not None else {},
            limit=_read_limit(limit, runtime) if limit is not None else None,
            upstream_cluster=view.text("upstream_cluster"),
            headers=tuple(context.compile_header_matcher(entry) for entry in view.views("headers")),
            nodes=frozenset(view.texts("downstream_nodes")),
            max_active=runtime.integer("max_active_faults_runtime", "fault.http.max_active_faults", max_active),
        )


class _Runtime:
    """Numbers of the message that follow the runtime, under keys of the message or Envoy's own."""

    def __init__(self, view: ConfigView, context: FactoryContext) -> None:
        self._view = view
        self._context = context

    def integer(self, field: str, key: str, default: int) -> Live[int]:
        return self._context.runtime.integer(self._view.text(field) or key, default)

    @staticmethod
    def pass_over(view: ConfigView, fault: ConfigView | None, *fields: str) -> None:
        """Keys that steer a fault which isn't there."""
        for name in fields if fault is None else ():
            view.text(name)

    def share(self, fault: ConfigView, field: str, key: str) -> Share:
        percentage = fault.view("percentage")
        default = self._context.compile_fraction(percentage) if percentage is not None else FractionalPercent(0)
        return self._context.runtime.share(self._view.text(field) or key, default)


def _read_delay(view: ConfigView, runtime: _Runtime) -> Fault:
    share = runtime.share(view, "delay_percent_runtime", "fault.http.delay.fixed_delay_percent")
    default = round(view.seconds("fixed_delay", 0.0) * 1000)
    milliseconds = runtime.integer("delay_duration_runtime", "fault.http.delay.fixed_duration_ms", default)
    match view.which("fault_delay_secifier"):
        case "header_delay":
            return Fault(share, header=DELAY_HEADER, percentage_header=f"{DELAY_HEADER}-percentage")
        case "fixed_delay":
            return Fault(share, milliseconds)
        case _:
            view.fail("one of 'fixed_delay' and 'header_delay' is required")


def _read_abort_body(view: ConfigView | None) -> bytes:
    return (view.text("response_body").encode() if view is not None else b"") or b"fault filter abort"


def _read_abort(view: ConfigView, runtime: _Runtime) -> Fault:
    share = runtime.share(view, "abort_percent_runtime", "fault.http.abort.abort_percent")
    status = view.integer("http_status")
    http = runtime.integer("abort_http_status_runtime", "fault.http.abort.http_status", status)
    grpc = runtime.integer("abort_grpc_status_runtime", "fault.http.abort.grpc_status", view.integer("grpc_status"))
    match view.which("error_type"):
        case "header_abort":
            return Fault(share, header=ABORT_HEADER, percentage_header=f"{ABORT_HEADER}-percentage")
        case "grpc_status":
            return Fault(share, grpc, grpc=True)
        case "http_status":
            if not 200 <= status < 600:
                view.fail(f"{status} is not in the range [200, 600)", "http_status")
            return Fault(share, http)
        case _:
            view.fail("one of 'http_status', 'grpc_status' and 'header_abort' is required")


def _read_limit(view: ConfigView, runtime: _Runtime) -> Fault:
    share = runtime.share(view, "response_rate_limit_percent_runtime", "fault.http.rate_limit.response_percent")
    match view.which("limit_type"):
        case "header_limit":
            return Fault(share, header=THROUGHPUT_HEADER, percentage_header=f"{THROUGHPUT_HEADER}-percentage")
        case "fixed_limit":
            return Fault(share, constant(view.required("fixed_limit").integer("limit_kbps") * 1024))
        case _:
            view.fail("one of 'fixed_limit' and 'header_limit' is required")
