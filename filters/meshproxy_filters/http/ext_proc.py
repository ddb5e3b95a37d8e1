"""`envoy.filters.http.ext_proc`: a service over gRPC sees, and may change, the parts of a request and its response.

One call serves one stream: each part that the modes ask for is a message, and the stream waits for its answer. When the
call has ended, in order or by a failure that is allowed, the rest passes untouched.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

from envoy.service.ext_proc.v3.external_processor_pb2 import CommonResponse, ProcessingRequest, ProcessingResponse
from google.protobuf.message import DecodeError

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext, GrpcCall, GrpcError, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply, ResponseReplaced
from meshproxy.plugin.struct_view import plain_struct
from meshproxy.plugin.view import ConfigView
from meshproxy_filters.http.ext_proc_config import (
    Attribute,
    ExtProcConfig,
    Modes,
    Override,
    apply_override,
    modes_of,
    read_config,
    read_override,
)
from meshproxy_filters.http.ext_proc_messages import (
    Rejected,
    change_headers,
    changed_body,
    immediate_reply,
    tell_headers,
    tell_metadata,
)

_METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
_NAME = "envoy.filters.http.ext_proc"
_UNWANTED = "unhandled_immediate_response_due_to_config_disabled_it"
_MILLISECOND = 0.001
_NOT_ASKED = (4, 14)
"""The statuses of calls that the service itself didn't end, as a rule."""


class _Answered(Exception):
    """The client gets this instead."""

    def __init__(self, reply: LocalReply) -> None:
        super().__init__(reply.details)
        self.reply = reply


class ExtProc(HttpFilter[ExtProcConfig | Override]):
    """See the module."""

    _call: GrpcCall | None = None
    _over: bool = False
    _modes: Modes | None = None
    _request_body: bytes | None = None
    _response_body: bytes | None = None

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

    @property
    def _settings(self) -> ExtProcConfig:
        return cast(ExtProcConfig, self.config)

    @property
    def _wanted(self) -> Modes:
        return self._modes or self._settings.modes

    def wants_request_body(self) -> bool:
        return self._request_body is not None or (not self._over and self._wanted.request_body == "BUFFERED")

    def wants_response_body(self) -> bool:
        return self._response_body is not None or (not self._over and self._wanted.response_body == "BUFFERED")

    # The request.

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> Awaitable[LocalReply | None] | None:
        if not self._wanted.request_headers:
            self._expect_changes(request, self._wanted.request_body != "NONE" and not stream.request_end)
            return None
        return self._request_headers(request, stream)

    async def _request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        message = ProcessingRequest()
        message.request_headers.end_of_stream = stream.request_end
        tell_headers(message.request_headers.headers, request, self._settings.wanted)
        self._tell_attributes(message, self._settings.request_attributes, stream)
        try:
            answer = await self._ask("request_headers", message, stream)
            if answer is not None:
                common = answer.request_headers.response
                self._change(request, common.header_mutation)
                self._clear_route(common, stream)
                if common.status == CommonResponse.CONTINUE_AND_REPLACE:
                    self._request_body = self._replace(common, stream.request_end)
        except _Answered as answered:
            return answered.reply
        replaced = self._request_body is not None
        self._expect_changes(request, replaced or (self._wanted.request_body == "STREAMED" and not stream.request_end))
        return None

    def on_request_body(
        self, data: bytes, end: bool, stream: Stream
    ) -> bytes | Awaitable[bytes | LocalReply | None] | None:
        if self._request_body is not None:
            return self._request_body
        if self._over or self._wanted.request_body == "NONE":
            return None
        return self._request_data(data, end, stream)

    async def _request_data(self, data: bytes, end: bool, stream: Stream) -> bytes | LocalReply | None:
        message = ProcessingRequest()
        message.request_body.body = data
        message.request_body.end_of_stream = end
        try:
            answer = await self._ask("request_body", message, stream)
            if answer is None:
                return None
            common = answer.request_body.response
            if self._wanted.request_body == "BUFFERED":
                self._change(stream.request, common.header_mutation)
                self._clear_route(common, stream)
        except _Answered as answered:
            return answered.reply
        return changed_body(common.body_mutation, data)

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> Awaitable[LocalReply | None] | None:
        if self._over or not self._wanted.request_trailers:
            return None
        return self._request_trailers(trailers, stream)

    async def _request_trailers(self, trailers: Headers, stream: Stream) -> LocalReply | None:
        message = ProcessingRequest()
        tell_headers(message.request_trailers.trailers, trailers, self._settings.wanted)
        try:
            answer = await self._ask("request_trailers", message, stream)
            if answer is not None:
                self._change(trailers, answer.request_trailers.header_mutation)
        except _Answered as answered:
            return answered.reply
        return None

    # The response.

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> Awaitable[None] | None:
        if self._over or not self._wanted.response_headers:
            self._expect_changes(response, self._wanted.response_body != "NONE" and not stream.response_end)
            return None
        return self._response_headers(response, stream)

    async def _response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        message = ProcessingRequest()
        message.response_headers.end_of_stream = stream.response_end
        tell_headers(message.response_headers.headers, response, self._settings.wanted)
        self._tell_attributes(message, self._settings.response_attributes, stream)
        try:
            answer = await self._ask("response_headers", message, stream)
            if answer is not None:
                common = answer.response_headers.response
                self._change(response, common.header_mutation)
                if common.status == CommonResponse.CONTINUE_AND_REPLACE:
                    self._response_body = self._replace(common, stream.response_end)
        except _Answered as answered:
            raise ResponseReplaced(answered.reply) from None
        replaced = self._response_body is not None
        streamed = self._wanted.response_body == "STREAMED" and not stream.response_end
        self._expect_changes(response, replaced or streamed)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> bytes | Awaitable[bytes | None] | None:
        if self._response_body is not None:
            return self._response_body
        if self._over or self._wanted.response_body == "NONE":
            return None
        return self._response_data(data, end, stream)

    async def _response_data(self, data: bytes, end: bool, stream: Stream) -> bytes | None:
        message = ProcessingRequest()
        message.response_body.body = data
        message.response_body.end_of_stream = end
        try:
            answer = await self._ask("response_body", message, stream)
            if answer is None:
                return None
            common = answer.response_body.response
            if self._wanted.response_body == "BUFFERED" and stream.response is not None:
                self._change(stream.response, common.header_mutation)
        except _Answered as answered:
            raise ResponseReplaced(answered.reply) from None
        return changed_body(common.body_mutation, data)

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> Awaitable[None] | None:
        if self._over or not self._wanted.response_trailers:
            return None
        return self._response_trailers(trailers, stream)

    async def _response_trailers(self, trailers: Headers, stream: Stream) -> None:
        message = ProcessingRequest()
        tell_headers(message.response_trailers.trailers, trailers, self._settings.wanted)
        try:
            answer = await self._ask("response_trailers", message, stream)
            if answer is not None:
                self._change(trailers, answer.response_trailers.header_mutation)
        except _Answered as answered:
            raise ResponseReplaced(answered.reply) from None

    def on_stream_complete(self, stream: Stream) -> None:
        self._end()

    # The call.

    def _count(self, name: str) -> None:
        self._settings.counters[name].value += 1

    def _end(self) -> None:
        """No more is asked."""
        self._over = True
        call, self._call = self._call, None
        if call is not None:
            call.end()
            self._count("streams_closed")

    def _fail(self, status: int, details: str) -> None:
        """The service can't be asked. Raises _Answered unless that is allowed."""
        self._over = True
        if self._settings.failure_allowed:
            self._count("failure_mode_allowed")
            return
        self._count("immediate_responses_sent")
        raise _Answered(LocalReply(status, details=details))

    async def _ask(self, kind: str, message: ProcessingRequest, stream: Stream) -> Any:
        """The answer to one message; None when there will be none. Raises _Answered."""
        if self._over:
            return None
        settings = self._settings
        tell_metadata(message, stream.dynamic_metadata, settings.told)
        try:
            if self._call is None:
                message.protocol_config.SetInParent()
                self._tell_modes(message)
                self._call = stream.open_grpc(settings.service, _METHOD)
                self._count("streams_started")
            self._call.send(message.SerializeToString())
            self._count("stream_msgs_sent")
            answer = await self._receive(self._call)
        except GrpcError as error:
            self._call = None
            self._count("streams_failed")
            text = str(error).partition(": ")[2]
            if error.status not in _NOT_ASKED:
                self._count("server_half_closed")
                text += "{via_upstream}"
            self._fail(settings.status_on_error, f"ext_proc_error_gRPC_error_{error.status}{{{text}}}")
            return None
        except TimeoutError:
            self._count("message_timeouts")
            self._end()
            self._fail(504, "ext_proc_error_per-message_timeout_exceeded")
            return None
        if answer is None:
            self._count("server_half_closed")
            self._end()
            return None
        return self._take(kind, answer, stream)

    def _tell_modes(self, message: ProcessingRequest) -> None:
        modes = self._settings.modes
        told = message.protocol_config
        told.request_body_mode = cast(Any, modes.request_body)
        told.response_body_mode = cast(Any, modes.response_body)

    async def _receive(self, call: GrpcCall) -> ProcessingResponse | None:
        """The next message; one that asks for more time is granted it once."""
        settings = self._settings
        timeout, asked = settings.timeout, False
        while True:
            data = await call.receive(timeout)
            if data is None:
                return None
            try:
                message = ProcessingResponse.FromString(data)
            except DecodeError:
                raise GrpcError(13, "a malformed message") from None
            if not message.HasField("override_message_timeout"):
                return message
            wanted = message.override_message_timeout.ToNanoseconds() / 1e9
            if asked or not _MILLISECOND <= wanted <= settings.max_timeout:
                self._count("override_message_timeout_ignored")
                continue
            self._count("override_message_timeout_received")
            timeout, asked = wanted, True

    def _take(self, kind: str, answer: ProcessingResponse, stream: Stream) -> ProcessingResponse | None:
        settings = self._settings
        for namespace, value in plain_struct(answer.dynamic_metadata).items():
            if namespace in settings.taken and isinstance(value, dict):
                stream.metadata(namespace).update(value)
        which = answer.WhichOneof("response")
        if which == "immediate_response" and settings.allow_immediate:
            self._count("stream_msgs_received")
            self._count("immediate_responses_sent")
            self._end()
            raise _Answered(immediate_reply(answer.immediate_response))
        if which != kind:
            self._count("spurious_msgs_received")
            self._end()
            self._fail(settings.status_on_error, _UNWANTED if which == "immediate_response" else "spurious_message")
            return None
        self._count("stream_msgs_received")
        if answer.HasField("mode_override") and settings.allow_override and kind.endswith("_headers"):
            modes = modes_of(answer.mode_override)
            if modes is not None and (not settings.allowed_modes or modes in settings.allowed_modes):
                self._modes = modes
        return answer

    # What answers do.

    def _change(self, headers: Headers, mutation: Any) -> None:
        rules = self._settings.rules
        try:
            rejected = change_headers(headers, mutation, rules)
        except Rejected as reason:
            self._count("rejected_header_mutations")
            self._end()
            self._fail(self._settings.status_on_error, str(reason))
            return
        self._settings.counters["rejected_header_mutations"].value += rejected

    def _clear_route(self, common: Any, stream: Stream) -> None:
        action = self._settings.route_cache
        if action == "CLEAR":
            stream.clear_route()
        elif common.clear_route_cache:
            if action == "RETAIN":
                self._count("clear_route_cache_disabled")
            elif common.HasField("header_mutation"):
                stream.clear_route()
            else:
                self._count("clear_route_cache_ignored")

    def _replace(self, common: Any, ended: bool) -> bytes:
        """The body that comes instead; then nothing more of this direction is told."""
        body = changed_body(common.body_mutation, b"")
        if ended and body:
            self._end()
            self._fail(self._settings.status_on_error, "ext_proc_error_body_for_a_message_without_one")
        return body

    def _expect_changes(self, headers: Headers, expected: bool) -> None:
        """A body that will change has no length that is known before."""
        if expected and not self._over:
            headers.remove("content-length")

    def _tell_attributes(self, message: ProcessingRequest, attributes: tuple[Attribute, ...], stream: Stream) -> None:
        if attributes:
            told = {name: value for name, read in attributes if (value := read(stream)) is not None}
            message.attributes[_NAME].update(told)
