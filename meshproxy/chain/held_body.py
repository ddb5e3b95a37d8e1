"""The body of a message that stands behind a filter, until that filter has had it, or the beginning of it."""

from __future__ import annotations

import enum

from meshproxy.headers import Headers
from meshproxy.plugin.http import WHAT_IS_HERE, BodyPart


class Holding(enum.Enum):
    """What is to be done after a piece has come."""

    WAIT = enum.auto()
    GIVE = enum.auto()
    TOO_LARGE = enum.auto()


class HeldBody:
    """Collects the pieces, and knows when the filter gets them.

    position: the filter's. resume_at: which of the hooks for heads is next.
    part: how much of the body the filter takes, if not the whole.
    partial: what it gets isn't the whole, so the head's length stays what it is.
    ends: the message ends with what it gets: neither more of the body follows, nor trailers.
    told_end: the `end` that the hook is told.
    """

    __slots__ = ("_pieces", "_size", "ends", "part", "partial", "position", "resume_at", "told_end")

    def __init__(self, position: int, resume_at: int, part: BodyPart | None) -> None:
        self.position = position
        self.resume_at = resume_at
        self.part = part
        self.partial = False
        self.ends = True
        self.told_end = True
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes, end: bool, limit: int, *, takes_part: bool) -> Holding:
        """A piece has come. takes_part: a body that reaches `limit` (bytes) is given as far as it has come."""
        self._pieces.append(data)
        self._size += len(data)
        self.ends = self.told_end = end
        if self.part is WHAT_IS_HERE:
            self.partial = True
            return Holding.GIVE
        if takes_part and self._size >= limit:
            self.partial = not end
            return Holding.GIVE
        if self._size > limit:
            return Holding.TOO_LARGE
        return Holding.GIVE if end else Holding.WAIT

    def end_with_trailers(self) -> None:
        """Trailers have come: that was all of the body."""
        self.ends, self.told_end = False, True

    def take(self) -> bytes:
        """The pieces as one."""
        whole = b"".join(self._pieces)
        self._pieces = []
        return whole

    def correct_length(self, head: Headers, size: int) -> None:
        """Make the head's content-length, if it has one, that of the body that the filter has made (bytes)."""
        if not self.partial and "content-length" in head.fields:
            head.fields["content-length"] = str(size)
