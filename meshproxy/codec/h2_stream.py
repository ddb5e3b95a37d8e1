"""One stream: which sides are still open, its windows, and what waits to be sent on it (RFC 9113 section 5)."""

from __future__ import annotations

from collections import deque

from meshproxy.headers import Headers


class Stream:
    """The state of a stream; `h2_connection` changes it.

    remote_open, local_open: may the peer, may we still send? Both are true from the head on.
    receive_left: bytes that the peer may send before we give it more.
    outstanding, returnable: bytes received that the owner has not consumed; consumed that the peer hasn't been told of.
    credit: what the peer's WINDOW_UPDATEs gave, less what was sent; its initial window comes on top.
    queue, queued: pieces of body that wait for a window, and their bytes. None: never has anything waited.
    end_queued, trailers: what follows the queue.
    blocked: the owner has been told to pause.
    reset_code: RST_STREAM that follows the queue (-1: none).
    forgotten: its owner hears nothing of it any more.
    held: pieces of body of this read that the owner gets as one.
    expected: bytes of body still to come by content-length (-1: unknown).
    answered: the final response has begun.
    created: when (server). is_head, upgrade: what the response to it depends on (client).
    """

    __slots__ = (
        "answered",
        "blocked",
        "created",
        "credit",
        "end_queued",
        "expected",
        "forgotten",
        "held",
        "is_head",
        "local_open",
        "outstanding",
        "queue",
        "queued",
        "receive_left",
        "remote_open",
        "reset_code",
        "returnable",
        "sid",
        "trailers",
        "upgrade",
    )

    def __init__(self, sid: int, receive_left: int) -> None:
        self.sid = sid
        self.remote_open = True
        self.local_open = True
        self.receive_left = receive_left
        self.outstanding = 0
        self.returnable = 0
        self.credit = 0
        self.queue: deque[bytes | memoryview] | None = None
        self.queued = 0
        self.end_queued = False
        self.trailers: Headers | None = None
        self.blocked = False
        self.reset_code = -1
        self.forgotten = False
        self.held: bytes | memoryview | list[bytes | memoryview] | None = None
        self.expected = -1
        self.answered = False
        self.created = 0.0
        self.is_head = False
        self.upgrade = ""
