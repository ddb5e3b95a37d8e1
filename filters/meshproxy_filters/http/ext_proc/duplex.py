"""The body mode FULL_DUPLEX_STREAMED: a direction's body goes to the service as it comes, also before there is an
answer to the head; what the service sends goes on in its place, however many pieces that are, and whenever.

Nobody waits in a hook here: answers come from outside (`GrpcListener`) and go out through the stream's `Outlet`, and no
time-out applies. What went to the service is there alone: once part of a body did, no failure is allowed.
"""

from __future__ import annotations

from typing import Any

from envoy.service.ext_proc.v3.external_processor_pb2 import CommonResponse, ProcessingRequest

from meshproxy.headers import Headers, RequestHeaders
from meshproxy.plugin.calls import Outlet
from meshproxy.plugin.context import GrpcError, Stream
from meshproxy_filters.http.ext_proc.call import Answered, Conversation, read_answer
from meshproxy_filters.http.ext_proc.config import Attribute
from meshproxy_filters.http.ext_proc.messages import changed_body, tell_headers

_NORMAL = "spurious_message:_Normal_body_mutation_response_is_received_while_body_mode__is_FULL_DUPLEX_STREAMED"


class Duplex:
    """One direction of a stream. head: None once it has gone on."""

    def __init__(
        self, direction: str, talk: Conversation, stream: Stream, outlet: Outlet, attributes: tuple[Attribute, ...]
    ) -> None:
        self.direction = direction
        self.over = False
        self._talk = talk
        self._stream = stream
        self._outlet = outlet
        self._attributes = attributes
        self._awaits_head: Headers | None = None
        self._ended = False
        self._trailers: Headers | None = None

    # What the service is told.

    def on_head(self, head: Headers) -> None:
        self._awaits_head = head
        message, told = self._message("headers")
        tell_headers(told.headers, head, self._talk.settings.wanted)
        self._send(message)

    def on_body(self, data: bytes, end: bool) -> None:
        if self.over:
            return
        self._ended = end
        self._talk.has_swallowed = True
        message, told = self._message("body")
        told.body, told.end_of_stream = data, end
        self._send(message)

    def on_trailers(self, trailers: Headers) -> None:
        if self.over:
            return
        self._trailers = trailers
        message, told = self._message("trailers")
        tell_headers(told.trailers, trailers, self._talk.settings.wanted)
        self._send(message)

    def _message(self, part: str) -> tuple[ProcessingRequest, Any]:
        message = ProcessingRequest()
        told = getattr(message, f"{self.direction}_{part}")
        told.SetInParent()
        if part != "trailers":
            self._talk.tell_attributes(message, self._attributes, self._stream)
        return message, told

    def _send(self, message: ProcessingRequest) -> None:
        try:
            call = self._talk.tell(message, self._stream)
        except Answered as answered:
            self.over = True
            self._stream.reply(answered.reply)
            return
        if call is None:
            self.let_go()

    # What it answers.

    def take(self, kind: str, answer: Any) -> None:
        """A message about this direction. Raises Answered."""
        expected = f"{self.direction}_headers" if self._awaits_head is not None else kind
        if self.over or (kind.endswith("trailers") and self._trailers is None):
            expected = ""
        if self._talk.take(expected, answer, self._stream) is None:
            self.let_go()
        elif kind.endswith("headers"):
            self._take_head(getattr(answer, kind).response)
        elif kind.endswith("body"):
            self._take_body(getattr(answer, kind).response)
        else:
            self._take_trailers(getattr(answer, kind))

    def _take_head(self, common: Any) -> None:
        head, self._awaits_head = self._awaits_head, None
        if head is None:
            self._talk.spurious("spurious_message")
            return
        self._talk.change(head, common.header_mutation)
        if isinstance(head, RequestHeaders):
            self._talk.clear_route(common, self._stream)
        if common.status == CommonResponse.CONTINUE_AND_REPLACE:
            self.over = True
            self._outlet.head()
            self._outlet.body(changed_body(common.body_mutation, b""), True)
        elif not self._ended and self._trailers is None:
            self._outlet.head()

    def _take_body(self, common: Any) -> None:
        if not common.body_mutation.HasField("streamed_response"):
            self._talk.spurious(_NORMAL)
            return
        piece = common.body_mutation.streamed_response
        self.over = piece.end_of_stream
        self._outlet.head()
        self._outlet.body(piece.body, piece.end_of_stream)

    def _take_trailers(self, answer: Any) -> None:
        assert self._trailers is not None
        self._talk.change(self._trailers, answer.header_mutation)
        self.over = True
        self._outlet.head()
        self._outlet.trailers()

    def let_go(self) -> None:
        """The service says no more, and that is no failure: what is left passes."""
        if not self.over:
            self.over = True
            self._outlet.let_go(self._ended)

    def block(self, blocked: bool) -> None:
        self._outlet.block(blocked)


class Duplexes:
    """Both directions of a stream, as far as they are of this mode: hears the call for them (`GrpcListener`)."""

    def __init__(self, talk: Conversation, stream: Stream) -> None:
        self._talk = talk
        self._stream = stream
        self._directions: dict[str, Duplex] = {}

    def add(self, duplex: Duplex) -> None:
        self._directions[duplex.direction] = duplex

    def on_call_message(self, message: bytes) -> bool:
        try:
            answer = read_answer(message)
            which = answer.WhichOneof("response") or ""
            duplex = self._directions.get(which.partition("_")[0])
            if duplex is None and which != "immediate_response":
                return False
            if duplex is not None:
                duplex.take(which, answer)
            elif not self._waits_for(answer):
                return False
        except GrpcError as error:
            self.on_call_end(error)
        except Answered as answered:
            self._stream.reply(answered.reply)
        return True

    def _waits_for(self, answer: Any) -> bool:
        """Take an answer in the place of the upstream's, unless a hook waits for an answer and takes it."""
        under_way = [each for each in self._directions.values() if not each.over]
        if under_way and self._talk.take("", answer, self._stream) is None:
            for each in under_way:
                each.let_go()
        return bool(under_way)

    def on_call_end(self, error: GrpcError | None) -> None:
        under_way = [each for each in self._directions.values() if not each.over]
        if not under_way:
            return
        try:
            if error is None:
                self._talk.half_closed()
            else:
                self._talk.broken(error)
        except Answered as answered:
            self._stream.reply(answered.reply)
            return
        for each in under_way:
            each.let_go()

    def on_call_blocked(self, blocked: bool) -> None:
        for each in self._directions.values():
            if not each.over:
                each.block(blocked)
