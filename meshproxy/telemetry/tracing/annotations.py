"""What verbose spans tell of a request: when its bytes came and went, in Envoy's words."""

from __future__ import annotations

from meshproxy.plugin.stream_info import StreamInfo

Annotations = tuple[tuple[float, str], ...]


def attempt_annotations(info: StreamInfo) -> Annotations:
    """Of the attempt under way, at its end."""
    return _reached(
        info,
        ("first_upstream_tx_byte_sent", info.first_upstream_tx),
        ("last_upstream_tx_byte_sent", info.last_upstream_tx),
        ("first_upstream_rx_byte_received", info.first_upstream_rx),
        ("last_upstream_rx_byte_received", info.last_upstream_rx),
    )


def request_annotations(info: StreamInfo) -> Annotations:
    """Of the whole, with the last attempt's."""
    return (
        *_reached(info, ("last_downstream_rx_byte_received", info.request_complete)),
        *attempt_annotations(info),
        *_reached(
            info,
            ("first_downstream_tx_byte_sent", info.first_downstream_tx),
            ("last_downstream_tx_byte_sent", info.last_downstream_tx),
        ),
    )


def _reached(info: StreamInfo, *points: tuple[str, float]) -> Annotations:
    """Monotonic times as seconds since 1970; those that weren't reached are left out."""
    return tuple((info.start_wall + time - info.start, what) for what, time in points if time)
