"""What the HTTP/2 connections of a side have at the moment, for the gauges below `http2.`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from meshproxy.plugin.stats import Gauge, StatsScope

if TYPE_CHECKING:
    from meshproxy.codec.h2_connection import Http2Codec

_NAMES = ("streams_active", "pending_send_bytes", "outbound_frames_active", "outbound_control_frames_active")


class Http2Gauges:
    """The gauges of one side; several owners may share them, so each adds what has changed on its part.

    connections: the gauge that counts connections; it bears the name of Envoy's codec.
    """

    def __init__(self, scope: StatsScope, connections: str) -> None:
        self._gauges: list[Gauge] = [scope.gauge(name) for name in (connections, *_NAMES)]
        self._shown = [0] * len(self._gauges)

    def show(self, codecs: Iterable[Http2Codec]) -> None:
        """These are the connections that are open now."""
        now = [0] * len(self._gauges)
        for codec in codecs:
            values = (1, codec.open_streams, codec.queued_bytes, *codec.backlog())
            now = [total + value for total, value in zip(now, values, strict=True)]
        for gauge, value, before in zip(self._gauges, now, self._shown, strict=True):
            gauge.add(value - before)
        self._shown = now
