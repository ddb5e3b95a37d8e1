"""A gRPC service for a case: it answers each message by a function, and what it was asked is shown as text.

It stands on the HTTP/2 upstream, so that a case also shows the head that a service gets, and a service can break off in
every way there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import Message as Protobuf

from .case import Upstream
from .h2_peer import Data, H2Op, H2Peer, Head, Play, Reset
from .wire import Message

_TYPE = ("content-type", "application/grpc")
HTTP2 = """typed_extension_protocol_options:
  http: {'@type': HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}"""
"""What the cluster of a service needs."""

Answer = Callable[[bytes], Sequence[H2Op]]
"""What is said to one message. A stream that the caller ends without having got a status ends with status 0."""


def pieces(body: bytes) -> list[bytes]:
    """The whole messages in a body."""
    found, at = [], 0
    while len(body) >= at + 5:
        end = at + 5 + int.from_bytes(body[at + 1 : at + 5], "big")
        if len(body) < end:
            break
        found.append(bytes(body[at + 5 : end]))
        at = end
    return found


def message(data: Protobuf) -> Data:
    raw = data.SerializeToString()
    return Data(b"\0" + len(raw).to_bytes(4, "big") + raw)


def status(code: int, text: str = "") -> Head:
    """The end of a stream."""
    return Head(None, (("grpc-status", str(code)), *((("grpc-message", text),) if text else ())), True)


def service(make: Callable[[], Answer], kind: type[Protobuf], hide: Callable[[Any], None] | None = None) -> Upstream:
    """A service; `make` gives each stream what answers it. hide: takes out of a message what differs between runs."""

    async def play(peer: H2Peer, stream: int) -> None:
        await _converse(peer, stream, make())
        peer.streams[stream].complete = True  # whether a caller that gives up half-closes before is of no interest

    def view(body: bytes) -> str:
        shown = []
        for piece in pieces(body):
            parsed = kind.FromString(piece)
            if hide is not None:
                hide(parsed)
            shown.append("\n        " + text_format.MessageToString(parsed, as_one_line=True))
        return "".join(shown)

    return Upstream(((Play(play),),), mode="h2", at="head", view=view, cluster=HTTP2)


def _more_asked(asked: Message, answered: int) -> bool:
    """Whether there is a message that has no answer yet, or won't be any more."""
    return len(pieces(bytes(asked.body))) > answered or asked.complete or bool(asked.notes)


async def _converse(peer: H2Peer, stream: int, answer: Answer) -> None:
    asked = peer.streams[stream]
    answered, began = 0, False
    while True:
        await peer.until(partial(_more_asked, asked, answered), 60)
        waiting = pieces(bytes(asked.body))[answered:]
        if peer.end or (asked.notes and not waiting):
            return
        answered += bool(waiting)
        for op in answer(waiting[0]) if waiting else (status(0),):
            if isinstance(op, Data) and not began:
                await peer.act(Head(200, (_TYPE,)), stream)
                began = True
            if isinstance(op, Head) and op.status is None and not began:
                op = Head(200, (_TYPE, *op.fields), True)
            await peer.act(op, stream)
            if isinstance(op, Reset) or (isinstance(op, Head) and op.end):
                return


def closing(requests: Sequence[Any]) -> tuple[Any, ...]:
    """The last request ends the connection: nobody has to guess when all has come."""
    *first, last = requests
    return (*first, last if "\r\nconnection:" in last else last.replace("\r\n", "\r\nconnection: close\r\n", 1))
