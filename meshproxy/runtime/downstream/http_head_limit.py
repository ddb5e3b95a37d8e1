"""How long the head of a request may take to come to its end, from its first byte on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.replies import (
    REQUEST_DURATION_TIMEOUT,
    REQUEST_HEADERS_TIMEOUT,
    REQUEST_IDLE_TIMEOUT,
    REQUEST_TIMEOUT,
    LocalReply,
)
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.model.http import HttpConnectionManagerConfig
    from meshproxy.plugin.stats import Counter
    from meshproxy.runtime.downstream.http_stats import HttpStats


@dataclass(frozen=True, slots=True, eq=False)
class HeadLimit:
    """seconds: from the first byte. reply: what the client is told then. counter: counts it."""

    seconds: float
    reply: LocalReply
    counter: Counter


def head_limit(config: HttpConnectionManagerConfig, stats: HttpStats) -> HeadLimit | None:
    """To Envoy a request begins with its first byte, so all of its timeouts run: here the shortest of them does."""
    timeouts = (
        (config.request_headers_timeout, REQUEST_HEADERS_TIMEOUT, stats.rq_header_timeout),
        (config.request_timeout, REQUEST_TIMEOUT, stats.rq_timeout),
        (config.stream_idle_timeout, REQUEST_IDLE_TIMEOUT, stats.rq_idle_timeout),
        (config.max_stream_duration, REQUEST_DURATION_TIMEOUT, stats.rq_max_duration_reached),
    )
    limits = (HeadLimit(*timeout) for timeout in timeouts if timeout[0])
    return min(limits, key=lambda limit: limit.seconds, default=None)
