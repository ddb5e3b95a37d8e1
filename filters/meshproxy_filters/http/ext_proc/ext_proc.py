"""`envoy.filters.http.ext_proc`: a service over gRPC sees, and may change, the parts of a request and its response.

One call serves one stream: each part that the modes ask for is a message, and the stream waits for its answer; in
observability mode nobody waits, and what the service says is ignored. When the call has ended, in order or by a failure
that is allowed, the rest passes untouched.

A head is held until the answer to it is there; with bodies also until the answer to the body is: to all of it where it
is buffered, and to the first piece where it is streamed and has come by then, as Envoy does.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

from envoy.service.ext_proc.v3.external_processor_pb2 import CommonResponse, ProcessingRequest

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import UP_TO_LIMIT, WHAT_IS_HERE, BodyPart, HttpFilter
from meshproxy.plugin.replies import LocalReply, ResponseReplaced
from meshproxy.plugin.view import ConfigView
from meshproxy_filters.http.ext_proc.call import Answered, Conversation
from meshproxy_filters.http.ext_proc.config import (
    FULL_DUPLEX,
    ExtProcConfig,
    Override,
    apply_override,
    read_config,
    read_override,
)
from meshproxy_filters.http.ext_proc.duplex import Duplex, Duplexes
from meshproxy_filters.http.ext_proc.messages import changed_body, tell_headers

_HELD: dict[str, bool | BodyPart] = {
    "NONE": False,
    "STREAMED": WHAT_IS_HERE,
    "BUFFERED": True,
    "BUFFERED_PARTIAL": UP_TO_LIMIT,
    FULL_DUPLEX: False,
}
_WHOLE = ("BUFFERED", "BUFFERED_PARTIAL")


class ExtProc(HttpFilter[ExtProcConfig | Override]):
    """See the module. *_body: what replaces the whole body; then no more of this direction is told."""

    _request_body: bytes | None = None
    _response_body: bytes | None = None
    _request_duplex: Duplex | None = None
    _response_duplex: Duplex | None = None
    _duplexes: Duplexes | None = None

    def __init__(self, config: ExtProcConfig | Override, context: FactoryContext) -> None:
        super().__init__(config, context)
        self._settings = cast(ExtProcConfig, config)
        self._talk = Conversation(self._settings)

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> ExtProcConfig:
        return read_config(view, context)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> Override:
        return read_override(view, context)

    @classmethod
    def merge_route(cls, base: ExtProcConfig | Override, route: ExtProcConfig | Override) -> ExtProcConfig:
        return apply_override(cast(ExtProcConfig, base), cast(Override, route))

    @classmethod
    def is_active(cls, config: ExtProcConfig | Override) -> bool:
        return not config.disabled

    @classmethod
    def buffers_request(cls, config: ExtProcConfig | Override) -> bool:
        return True  # which bodies are whole, the service may say with each stream

    @classmethod
    def buffers_response(cls, config: ExtProcConfig | Override) -> bool:
        return True

    def wants_request_body(self) -> bool | BodyPart:
        if self._request_body is not None:
            return True
        modes = self._talk.modes
        if (
            self._talk.over
            or self._settings.observes
            or (modes.request_body == "STREAMED" and not modes.request_headers)
        ):
            return False
        return _HELD[modes.request_body]

    def wants_response_body(self) -> bool | BodyPart:
        if self._response_body is not None:
            return True
        modes = self._talk.modes
        if (
            self._talk.over
            or self._settings.observes
            or (modes.response_body == "STREAMED" and not modes.response_headers)
        ):
            return False
        return _HELD[modes.response_body]

    # The request.

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> Awaitable[LocalReply | None] | None:
        if self._diverts(self._talk.modes.request_body, stream.request_end):
            self._divert_request(request, stream, told=self._talk.modes.request_headers)
            return None
        if not self._talk.modes.request_headers:
            self._expect_changes(request, self._talk.modes.request_body, told=False)
            return None
        return self._request_headers(request, stream)

    async def _request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        message = ProcessingRequest()
        message.request_headers.end_of_stream = stream.request_end
        tell_headers(message.request_headers.headers, request, self._settings.wanted)
        self._talk.tell_attributes(message, self._settings.request_attributes, stream)
        try:
            answer = await self._talk.ask("request_headers", message, stream)
            if answer is not None:
                common = answer.request_headers.response
                self._talk.change(request, common.header_mutation)
                self._talk.clear_route(common, stream)
                body = _replacement(common)
                if body is not None and stream.request_end:
                    if body:
                        request.remove("content-length")
                        stream.give_request_body(self, body)
                elif body is not None:
                    self._request_body = body
        except Answered as answered:
            return answered.reply
        if self._request_body is not None:
            request.remove("content-length")
        else:
            self._expect_changes(request, self._talk.modes.request_body, told=True)
            if self._diverts(self._talk.modes.request_body, stream.request_end):
                self._divert_request(request, stream, told=False)
        return None

    def on_request_body(
        self, data: bytes, end: bool, stream: Stream
    ) -> bytes | Awaitable[bytes | LocalReply | None] | None:
        if self._request_body is not None:
            return self._request_body
        if self._request_duplex is not None:
            self._request_duplex.on_body(data, end and stream.request_trailers is None)
            return None
        if self._talk.over or not self._is_told(self._talk.modes.request_body):
            return None
        if not data and stream.request_trailers is not None:
            return None  # there is no body
        return self._request_data(data, end and stream.request_trailers is None, stream)

    async def _request_data(self, data: bytes, end: bool, stream: Stream) -> bytes | LocalReply | None:
        message = ProcessingRequest()
        message.request_body.body = data
        message.request_body.end_of_stream = end
        talk = self._talk
        whole = talk.modes.request_body in _WHOLE
        talk.tell_attributes(message, self._settings.request_attributes, stream)
        try:
            answer = await talk.ask("request_body", message, stream)
            if answer is None:
                return None
            common = answer.request_body.response
            changed = changed_body(common.body_mutation, data)
            if stream.holds_request_head:
                talk.change(stream.request, common.header_mutation)
                if whole:
                    if changed is not data and not talk.check_length(stream.request, changed):
                        return None
                    talk.clear_route(common, stream)
        except Answered as answered:
            return answered.reply
        return changed

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> Awaitable[LocalReply | None] | None:
        if self._request_duplex is not None:
            self._request_duplex.on_trailers(trailers)
            return None
        if self._talk.over or not self._talk.modes.request_trailers:
            return None
        return self._request_trailers(trailers, stream)

    async def _request_trailers(self, trailers: Headers, stream: Stream) -> LocalReply | None:
        message = ProcessingRequest()
        tell_headers(message.request_trailers.trailers, trailers, self._settings.wanted)
        try:
            answer = await self._talk.ask("request_trailers", message, stream)
            if answer is not None:
                self._talk.change(trailers, answer.request_trailers.header_mutation)
        except Answered as answered:
            return answered.reply
        return None

    # The response.

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> Awaitable[None] | None:
        if self._diverts(self._talk.modes.response_body, stream.response_end):
            self._divert_response(response, stream, told=self._talk.modes.response_headers)
            return None
        if self._talk.over or not self._talk.modes.response_headers:
            self._expect_changes(response, self._talk.modes.response_body, told=False)
            return None
        return self._response_headers(response, stream)

    async def _response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        message = ProcessingRequest()
        message.response_headers.end_of_stream = stream.response_end
        tell_headers(message.response_headers.headers, response, self._settings.wanted)
        self._talk.tell_attributes(message, self._settings.response_attributes, stream)
        try:
            answer = await self._talk.ask("response_headers", message, stream)
            if answer is not None:
                common = answer.response_headers.response
                self._talk.change(response, common.header_mutation)
                body = _replacement(common)
                if body is not None and stream.response_end:
                    if body and stream.request.method != "HEAD" and response.status not in (204, 304):
                        response.remove("content-length")
                        stream.give_response_body(self, body)
                elif body is not None:
                    self._response_body = body
        except Answered as answered:
            raise ResponseReplaced(answered.reply) from None
        if self._response_body is not None:
            response.remove("content-length")
        else:
            self._expect_changes(response, self._talk.modes.response_body, told=True)
            if self._diverts(self._talk.modes.response_body, stream.response_end):
                self._divert_response(response, stream, told=False)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> bytes | Awaitable[bytes | None] | None:
        if self._response_body is not None:
            return self._response_body
        if self._response_duplex is not None:
            self._response_duplex.on_body(data, end and stream.response_trailers is None)
            return None
        if self._talk.over or not self._is_told(self._talk.modes.response_body):
            return None
        if not data and stream.response_trailers is not None:
            return None
        return self._response_data(data, end and stream.response_trailers is None, stream)

    async def _response_data(self, data: bytes, end: bool, stream: Stream) -> bytes | None:
        message = ProcessingRequest()
        message.response_body.body = data
        message.response_body.end_of_stream = end
        talk = self._talk
        whole = talk.modes.response_body in _WHOLE
        talk.tell_attributes(message, self._settings.response_attributes, stream)
        try:
            answer = await talk.ask("response_body", message, stream)
            if answer is None:
                return None
            common = answer.response_body.response
            changed = changed_body(common.body_mutation, data)
            if stream.holds_response_head and stream.response is not None:
                talk.change(stream.response, common.header_mutation)
                if whole and changed is not data and not talk.check_length(stream.response, changed):
                    return None
        except Answered as answered:
            raise ResponseReplaced(answered.reply) from None
        return changed

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> Awaitable[None] | None:
        if self._response_duplex is not None:
            self._response_duplex.on_trailers(trailers)
            return None
        if self._talk.over or not self._talk.modes.response_trailers:
            return None
        return self._response_trailers(trailers, stream)

    async def _response_trailers(self, trailers: Headers, stream: Stream) -> None:
        message = ProcessingRequest()
        tell_headers(message.response_trailers.trailers, trailers, self._settings.wanted)
        try:
            answer = await self._talk.ask("response_trailers", message, stream)
            if answer is not None:
                self._talk.change(trailers, answer.response_trailers.header_mutation)
        except Answered as answered:
            raise ResponseReplaced(answered.reply) from None

    # Bodies that go to the service.

    def _diverts(self, mode: str, ended: bool) -> bool:
        return mode == FULL_DUPLEX and not (ended or self._settings.observes or self._talk.over)

    def _divert_request(self, request: RequestHeaders, stream: Stream, *, told: bool) -> None:
        outlet = stream.divert_request(self, holds_head=told)
        self._request_duplex = Duplex("request", self._talk, stream, outlet, self._settings.request_attributes)
        self._begin_duplex(self._request_duplex, request, stream, told=told)

    def _divert_response(self, response: ResponseHeaders, stream: Stream, *, told: bool) -> None:
        outlet = stream.divert_response(self, holds_head=told)
        self._response_duplex = Duplex("response", self._talk, stream, outlet, self._settings.response_attributes)
        self._begin_duplex(self._response_duplex, response, stream, told=told)

    def _begin_duplex(
        self, duplex: Duplex, head: RequestHeaders | ResponseHeaders, stream: Stream, *, told: bool
    ) -> None:
        if self._duplexes is None:
            self._duplexes = Duplexes(self._talk, stream)
            self._talk.listen(self._duplexes)
        self._duplexes.add(duplex)
        if told:
            duplex.on_head(head)
        head.remove("content-length")

    def on_stream_complete(self, stream: Stream) -> None:
        self._talk.end(self._settings.deferred_close if self._settings.observes else 0.0)

    def _is_told(self, mode: str) -> bool:
        """Whether the service hears of a body in this mode: an observer for whom nobody waits only of what streams."""
        return mode == "STREAMED" or (mode != "NONE" and not self._settings.observes)

    def _expect_changes(self, headers: Headers, mode: str, *, told: bool) -> None:
        """A body that may change, or come where there was none, has no length that is known before, unless the service
        has been asked about the head and sees the whole: then it is bound to the length that the head says."""
        if self._settings.observes:
            return
        if mode != "NONE" and not (told and mode == "BUFFERED") and not self._talk.over:
            headers.remove("content-length")


def _replacement(common: Any) -> bytes | None:
    """The body that comes instead."""
    if common.status != CommonResponse.CONTINUE_AND_REPLACE or not common.HasField("body_mutation"):
        return None
    return changed_body(common.body_mutation, b"")
