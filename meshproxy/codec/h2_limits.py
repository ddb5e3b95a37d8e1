"""Floods: what a peer may ask of a connection before it's taken for an attack. The budgets are Envoy's and nghttp2's.

Each budget is a count that ordinary traffic never reaches. When one is spent the connection ends, with Envoy's name of
the fault in `%RESPONSE_CODE_DETAILS%` and its counter in `http2.*`.
"""

from __future__ import annotations

from collections.abc import Callable

#: Requests of a connection before the share of resets among them is judged, and how young a reset one must be (s):
#: Envoy's `overload.premature_reset_total_stream_count` and `..._min_stream_lifetime_seconds` (CVE-2023-44487).
PREMATURE_RESET_TOTAL = 500
PREMATURE_RESET_LIFETIME = 2.0

#: RST_STREAM that a server takes at once, and per second: nghttp2's rate limit. Frames for streams that are closed
#: (HEADERS, RST_STREAM) are paid from it too.
RESET_BURST = 1000
RESET_RATE = 33

#: CONTINUATION frames of one block, and entries of one SETTINGS frame: nghttp2's limits.
MAX_CONTINUATIONS = 512
MAX_SETTINGS_ENTRIES = 32

#: A block is read to its end for the tables' sake even if its message is too large, up to so many times the bytes and
#: the fields that a message may have; beyond that the connection ends. Our own limits.
BLOCK_SLACK = 2
FIELDS_SLACK = 10

#: Frames per connection, and as many per stream, that say nothing: of unknown types (RFC 9218's PRIORITY_UPDATE is one
#: for us), GOAWAY, acknowledgements of nothing. Our own limit; Envoy has none for most.
MAX_IDLE_FRAMES = 1000

#: Envoy allows so many WINDOW_UPDATEs beyond those that streams and DATA explain.
WINDOW_UPDATE_BASE = 5


class ResetBudget:
    """A bucket of RST_STREAMs that fills up with time."""

    __slots__ = ("_left", "_now", "_since")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left = float(RESET_BURST)
        self._since = 0.0

    def spend(self) -> bool:
        """Take one; false: there is none left."""
        if self._left < 1:
            now = self._now()
            self._left = min(RESET_BURST, (now - self._since) * RESET_RATE)
            self._since = now
            if self._left < 1:
                return False
        elif self._left == RESET_BURST:
            self._since = self._now()
        self._left -= 1
        return True


class PrematureResets:
    """Streams that ended soon and without an answer, against all that `ended`."""

    __slots__ = ("_premature", "ended")

    def __init__(self) -> None:
        self.ended = 0
        self._premature = 0

    def add(self, premature: bool) -> bool:
        """One more stream has ended; false: most of them were reset."""
        self.ended += 1
        if not premature:
            return True
        self._premature += 1
        # Before there are enough to judge, the bad ones are enough if the good ones could no longer outnumber them.
        return self._premature * 2 < max(self.ended, PREMATURE_RESET_TOTAL)
