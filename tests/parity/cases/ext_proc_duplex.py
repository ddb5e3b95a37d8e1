"""An external processor that gets a body piece by piece and says what goes on in its place, whenever it likes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest

from ..case import OK, Case, Upstream, get
from ..grpc_peer import Answer, H2Op, service, status
from ..h2_peer import Reset
from .ext_proc import (
    ANSWER_CHUNKED,
    ANSWER_TRAILERS,
    CHUNKED,
    POST,
    SEND_TRAILERS,
    TRAILERS,
    TRAILERS_ON,
    Says,
    _base64,
    _hide,
    both,
    processed,
    response,
    sets,
)

BOTH = both("FULL_DUPLEX_STREAMED", **SEND_TRAILERS)
OF_REQUEST = {
    "request_body_mode": "FULL_DUPLEX_STREAMED",
    "request_trailer_mode": "SEND",
    "response_header_mode": "SKIP",
}
OF_RESPONSE = {
    "response_body_mode": "FULL_DUPLEX_STREAMED",
    "response_trailer_mode": "SEND",
    "request_header_mode": "SKIP",
}
_END = re.compile(
    r"""(\b(?:request|response)_body \{ body: "[^"\n]*")( \}[^\n]*)\n *re[a-z]+_body \{ end_of_stream: true \}.*"""
)
"""Whether the end comes with the last piece, or alone behind it, is of no account."""

Script = Callable[[ProcessingRequest, str], Sequence[H2Op]]


def piece(direction: str, text: str, end: bool = False) -> H2Op:
    streamed = {"body": _base64(text), "end_of_stream": end}
    return response({f"{direction}_body": {"response": {"body_mutation": {"streamed_response": streamed}}}})


def head(direction: str) -> H2Op:
    return response({f"{direction}_headers": sets(("x-n", "1"))})


def prompt(told: ProcessingRequest, kind: str) -> Sequence[H2Op]:
    """Each part is answered when it comes, and bodies are shouted."""
    direction, _, part = kind.partition("_")
    if part == "headers":
        return (head(direction),)
    if part == "body":
        said = getattr(told, kind)
        return (piece(direction, said.body.decode("latin-1").upper(), said.end_of_stream),)
    return (response({kind: {"header_mutation": sets(("x-nt", "1"))["response"]["header_mutation"]}}),)


def late(told: ProcessingRequest, kind: str) -> Sequence[H2Op]:
    """Nothing is answered before the end is there."""
    direction, _, part = kind.partition("_")
    said = getattr(told, kind)
    if part == "trailers":
        return (head(direction), piece(direction, "all "), piece(direction, "new"), *prompt(told, kind))
    if not said.end_of_stream:
        return ()
    if part == "headers":
        return (head(direction),)
    return (head(direction), piece(direction, "all "), piece(direction, "new", True))


def on(wanted: str, *ops: H2Op, otherwise: Script = prompt) -> Script:
    """`ops` to messages of that kind."""
    return lambda told, kind: ops if kind == wanted else otherwise(told, kind)


def answering(says: Script) -> Upstream:
    def make() -> Answer:
        def answer(data: bytes) -> Sequence[H2Op]:
            told = ProcessingRequest.FromString(data)
            return says(told, told.WhichOneof("request") or "")

        return answer

    asked = service(make, ProcessingRequest, _hide)
    view = cast(Any, asked.view)
    return replace(asked, view=lambda data: _END.sub(r"\1 end_of_stream: true\2", view(data)))


def duplex(name: str, *requests: Any, says: Script = prompt, modes: Says = BOTH, **more: Any) -> Case:
    more.setdefault("hcm", TRAILERS_ON)
    more.setdefault("stats", r"^http\.$case\.ext_proc\.(?!stream_msgs)")
    return processed(f"duplex-{name}", *(requests or (POST,)), modes=modes, other=answering(says), **more)


def spoilt(name: str, *ops: H2Op, kind: str = "request_body", **more: Any) -> Case:
    return duplex(f"{name}-{kind}", says=on(kind, *ops), **more)


_BODY = response({"request_body": {"response": {"body_mutation": {"body": _base64("x")}}}})
_REPLY = response({"immediate_response": {"status": {"code": 403}, "body": _base64("no"), "details": "why"}})

CASES = [
    *(
        duplex(f"{says.__name__}-{name}", request, says=says, upstream=answer)
        for says in (prompt, late)
        for name, request, answer in (
            ("get", get("/a"), OK),
            ("post", POST, OK),
            ("chunked", CHUNKED, ANSWER_CHUNKED),
            ("trailers", TRAILERS, ANSWER_TRAILERS),
        )
    ),
    *(duplex(f"of-request-{says.__name__}", says=says, modes=OF_REQUEST) for says in (prompt, late)),
    *(duplex(f"of-response-{says.__name__}", says=says, modes=OF_RESPONSE) for says in (prompt, late)),
    duplex("no-heads", modes={**BOTH, "request_header_mode": "SKIP", "response_header_mode": "SKIP"}),
    *(
        spoilt(name, *ops, kind=kind)
        for kind in ("request_headers", "request_body", "response_headers", "response_body")
        for name, ops in (
            ("ended", (status(0),)),
            ("failed", (status(13, "x"),)),
            ("reset", (Reset(2),)),
            ("replied", (_REPLY,)),
            ("other", (_BODY,)),
        )
    ),
    spoilt("early-piece", piece("request", "x"), kind="request_headers"),
    spoilt("early-end", piece("request", "x", True), head("request"), kind="request_body"),
    duplex("allowed-ended", says=on("request_headers", status(13)), failure_mode_allow=True),
    duplex("allowed-ended-in-body", says=on("request_body", status(13)), failure_mode_allow=True),
    duplex("observed", modes=BOTH, observability_mode=True, stats=""),
    duplex("no-trailers", modes={"request_body_mode": "FULL_DUPLEX_STREAMED"}, refused=True),
    duplex("no-response-trailers", modes={"response_body_mode": "FULL_DUPLEX_STREAMED"}, refused=True),
    spoilt("replaced", response({"request_headers": {"response": {"status": "CONTINUE_AND_REPLACE", "body_mutation": {"body": _base64("new")}}}}), kind="request_headers"),
    spoilt("slow", 0.3, head("request"), kind="request_headers", message_timeout="0.1s"),
]  # fmt: skip
