"""One stream's conversation with an external processor: what is asked, what is counted, and what a failure does.

A conversation begins with the first message and is over with the first of these: the service has ended it, it failed,
it answered in the upstream's place, or the stream is over. From then on nothing is asked; the rest passes untouched
unless the failure isn't allowed.
"""

from __future__ import annotations

from typing import Any, cast

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse
from google.protobuf.message import DecodeError

from meshproxy.headers import Headers
from meshproxy.plugin.calls import GrpcListener
from meshproxy.plugin.context import GrpcCall, GrpcError, Stream
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.struct_view import plain_struct
from meshproxy_filters.http.ext_proc.config import FULL_DUPLEX, Attribute, ExtProcConfig, Modes, modes_of
from meshproxy_filters.http.ext_proc.messages import Rejected, change_headers, immediate_reply, tell_metadata

_METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
_NAME = "envoy.filters.http.ext_proc"
_UNWANTED = {
    "immediate_response": "unhandled_immediate_response_due_to_config_disabled_it",
    None: "unhandled_message",
}
_MILLISECOND = 0.001
_NOT_ANSWERED = (4, 14)
"""The statuses of calls that the service itself didn't end, as a rule."""

_NO_CLUSTER = "Cluster not available"


class Answered(Exception):
    """The client gets this instead."""

    def __init__(self, reply: LocalReply) -> None:
        super().__init__(reply.details)
        self.reply = reply


def read_answer(data: bytes) -> ProcessingResponse:
    """Raises GrpcError."""
    try:
        return ProcessingResponse.FromString(data)
    except DecodeError:
        raise GrpcError(13, "a malformed message") from None


class Conversation:
    """See the module. over: nothing is asked any more. has_swallowed: parts of a body are with the service alone, so
    that the stream can't go on without it."""

    def __init__(self, settings: ExtProcConfig) -> None:
        self.settings = settings
        self.modes = settings.modes
        self.over = False
        self.has_swallowed = False
        self._heard = False
        self._call: GrpcCall | None = None
        self._listener: GrpcListener | None = None
        self._told: tuple[tuple[Attribute, ...], ...] = ()

    def _count(self, name: str) -> None:
        self.settings.counters[name].value += 1

    def end(self, after: float = 0.0) -> None:
        """No more is asked."""
        self.over = True
        call, self._call = self._call, None
        if call is not None:
            call.end(after)
            self._count("streams_closed")

    def fail(self, status: int, details: str) -> None:
        """It can't go on. Raises Answered unless that is allowed."""
        self.over = True
        if self.settings.failure_allowed and not self.has_swallowed:
            self._count("failure_mode_allowed")
            return
        self._count("immediate_responses_sent")
        raise Answered(LocalReply(status, details=details))

    async def ask(self, kind: str, message: ProcessingRequest, stream: Stream) -> Any:
        """The answer to one message; None when there will be none. Raises Answered."""
        call = self.tell(message, stream)
        if call is None or self.settings.observes:
            return None
        try:
            answer = await self._receive(call, None if self.streams(kind) else self.settings.timeout)
        except GrpcError as error:
            if not self.over:
                self.broken(error)
            return None
        except TimeoutError:
            self._count("message_timeouts")
            self.end()
            self.fail(504, "ext_proc_error_per-message_timeout_exceeded")
            return None
        if answer is None:
            if not self.over:
                self.half_closed()
            return None
        return self.take(kind, answer, stream)

    def listen(self, listener: GrpcListener) -> None:
        """`listener` hears everything first."""
        self._listener = listener
        if self._call is not None:
            self._call.listen(listener)

    def streams(self, kind: str) -> bool:
        """Whether the service answers when it likes to what is of this kind's direction."""
        return (self.modes.request_body if kind.startswith("request") else self.modes.response_body) == FULL_DUPLEX

    def tell(self, message: ProcessingRequest, stream: Stream) -> GrpcCall | None:
        """Send one message; None when there is nobody to hear it any more. Raises Answered."""
        if self.over:
            return None
        tell_metadata(message, stream.dynamic_metadata, self.settings.told)
        try:
            call = self._call or self._open(message, stream)
        except GrpcError as error:
            self.broken(error)
            return None
        message.observability_mode = self.settings.observes
        call.send(message.SerializeToString())
        self._count("stream_msgs_sent")
        return call

    def _open(self, message: ProcessingRequest, stream: Stream) -> GrpcCall:
        """Begin the call; its first message says which bodies it will be about."""
        if not self.settings.observes:
            told = message.protocol_config
            told.SetInParent()
            told.request_body_mode = cast(Any, self.settings.modes.request_body)
            told.response_body_mode = cast(Any, self.settings.modes.response_body)
        self._call = call = stream.open_grpc(self.settings.service, _METHOD)
        if self._listener is not None:
            call.listen(self._listener)
        self._count("streams_started")
        if self.settings.observes:
            call.ignore()
        return call

    def broken(self, error: GrpcError) -> None:
        """The call ended in disorder."""
        self._call = None
        self._count("streams_failed")
        text = str(error).partition(": ")[2]
        if error.status not in _NOT_ANSWERED or text in ("remote reset", _NO_CLUSTER):
            self._count("server_half_closed")
            if (
                self.settings.failure_allowed and not self.has_swallowed
            ):  # Envoy closes what is over, and counts that too
                self._count("server_half_closed")
                self._count("streams_closed")
        if self._heard and text == "remote reset":
            self.fail(
                self.settings.status_on_error,
                "ext_proc_error_gRPC_error_13{upstream_reset_after_response_started{remote_reset}}",
            )
            return
        if error.status not in _NOT_ANSWERED:
            text = f"{text}{{via_upstream}}" if text else "via_upstream"
        elif text == "no healthy upstream":
            text = "no healthy upstream{no_healthy_upstream}"
        elif error.status == 14 and text != _NO_CLUSTER:
            reason, _, detail = text.partition(": ")
            inner = f"{reason}|{detail}" if detail else reason
            text = (
                f"upstream connect error or disconnect/reset before headers. reset reason: {reason}"
                f"{{upstream_reset_before_response_started{{{inner}}}}}"
            )
        self.fail(self.settings.status_on_error, f"ext_proc_error_gRPC_error_{error.status}{{{text}}}")

    async def _receive(self, call: GrpcCall, timeout: float | None) -> ProcessingResponse | None:
        """The next message; one that asks for more time is granted it once."""
        settings = self.settings
        asked = timeout is None
        while True:
            data = await call.receive(timeout)
            if data is None:
                return None
            message = read_answer(data)
            if not message.HasField("override_message_timeout"):
                return message
            wanted = message.override_message_timeout.ToNanoseconds() / 1e9
            if asked or not _MILLISECOND <= wanted <= settings.max_timeout:
                self._count("override_message_timeout_ignored")
                continue
            self._count("override_message_timeout_received")
            timeout, asked = wanted, True

    def half_closed(self) -> None:
        """The service has ended the call in order."""
        self._count("server_half_closed")
        self.end()

    def take(self, kind: str, answer: ProcessingResponse, stream: Stream) -> ProcessingResponse | None:
        """What a message says beside the answer to `kind`, which it must be. Raises Answered."""
        settings = self.settings
        self._heard = True
        if answer.HasField("dynamic_metadata"):
            for namespace, value in plain_struct(answer.dynamic_metadata).items():
                if namespace in settings.taken and isinstance(value, dict):
                    stream.metadata(namespace).update(value)
        which = answer.WhichOneof("response")
        if which == "immediate_response" and settings.allow_immediate:
            self._count("stream_msgs_received")
            self._count("immediate_responses_sent")
            self.end()
            reply, rejected = immediate_reply(answer.immediate_response, settings.rules)
            settings.counters["rejected_header_mutations"].value += rejected
            raise Answered(reply)
        if which != kind:
            self.spurious(_UNWANTED.get(which, "spurious_message"))
            return None
        self._count("stream_msgs_received")
        if answer.HasField("mode_override") and settings.allow_override and kind.endswith("_headers"):
            self._override(modes_of(answer.mode_override))
        return answer

    def spurious(self, details: str) -> None:
        """The service said what it mustn't. Raises Answered."""
        self._count("spurious_msgs_received")
        self.end()
        self.fail(self.settings.status_on_error, details)

    def _override(self, modes: Modes | None) -> None:
        """How heads are asked about can't be changed any more, so that it isn't compared."""
        allowed = self.settings.allowed_modes
        if modes is not None and (not allowed or any(modes.agrees(each) for each in allowed)):
            self.modes = modes

    # What answers do.

    def change(self, headers: Headers, mutation: Any) -> None:
        """Apply a `HeaderMutation`. Raises Answered."""
        try:
            rejected = change_headers(headers, mutation, self.settings.rules)
        except Rejected as reason:
            self._count("rejected_header_mutations")
            self.end()
            self.fail(self.settings.status_on_error, str(reason))
            return
        self.settings.counters["rejected_header_mutations"].value += rejected

    def check_length(self, headers: Headers, body: bytes) -> bool:
        """Whether a whole body that was changed is as long as the head says. Raises Answered."""
        length = headers.get("content-length")
        if length is None or length == str(len(body)):
            return True
        self.end()
        self.fail(self.settings.status_on_error, "mismatch_between_content_length_and_the_length_of_the_mutated_body")
        return False

    def clear_route(self, common: Any, stream: Stream) -> None:
        """What an answer about the request does to the route that was chosen."""
        action = self.settings.route_cache
        if action == "CLEAR":
            stream.clear_route()
        elif common.clear_route_cache:
            if action == "RETAIN":
                self._count("clear_route_cache_disabled")
            elif common.HasField("header_mutation"):
                stream.clear_route()
            else:
                self._count("clear_route_cache_ignored")

    def tell_attributes(self, message: ProcessingRequest, attributes: tuple[Attribute, ...], stream: Stream) -> None:
        """Put them into the first message of their direction."""
        if attributes and attributes not in self._told:
            self._told = (*self._told, attributes)
            told = {name: value for name, read in attributes if (value := read(stream)) is not None}
            message.attributes[_NAME].update(told)
