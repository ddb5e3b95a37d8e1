"""`envoy.filters.http.grpc_json_transcoder`: JSON clients of gRPC services.

A request whose method and path a service's annotations name becomes a call: its body, the variables of its path and its
query make the message. The body is taken whole, also that of a client that streams, whose messages are the elements of
an array. The answer's messages become JSON: that of one message is held until its status is known and becomes the
HTTP status; those of a stream go on as they come.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, ClassVar

from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders, check_value
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import BUFFER, BodyMode, HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy_filters.grpc_heads import FRAME_HEAD, frame, grpc_status, is_grpc, is_grpc_response
from meshproxy_filters.http.grpc_json_transcoder.bindings import bind, is_set
from meshproxy_filters.http.grpc_json_transcoder.config import Rule, TranscoderConfig, read_transcoder
from meshproxy_filters.http.grpc_json_transcoder.paths import unescape
from meshproxy_filters.http.grpc_json_transcoder.schema import TranscodeError, dump, field_path

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_JSON, _SSE = "application/json", "text/event-stream"
_HTTP_STATUS = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)


class GrpcJsonTranscoder(HttpFilter[TranscoderConfig]):
    """See the module."""

    request_body: ClassVar[BodyMode] = BUFFER
    response_body: ClassVar[BodyMode] = BUFFER
    _rule: Rule | None = None
    _bindings: list[tuple[list[Any], str]]
    _content_type: str = ""
    _transcodes_response: bool = False
    _held: bytes = b""
    _began: bool = False
    _gives_body: bool = False
    _gives_response: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> TranscoderConfig:
        return read_transcoder(view, context)

    @classmethod
    def is_active(cls, config: TranscoderConfig) -> bool:
        return config.table is not None

    @property
    def body_limit(self) -> int:
        return self.config.response_limit if self._transcodes_response else self.config.body_limit

    def wants_request_body(self) -> bool:
        return self._rule is not None and not self._gives_body

    def wants_response_body(self) -> bool:
        holds = self._transcodes_response and not self._gives_response
        return holds and self._rule is not None and not self._rule.server_streaming

    # The request.

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        if is_grpc(request.get("content-type")):
            return None
        config = self.config
        assert config.table is not None
        path, _, query = request.path.partition("?")
        found = config.table.find(request.method, path)
        if found is None:
            if config.refuses_unknown_method:
                return _refuse(f"Could not resolve {path} to a method.", "NOT_FOUND", 404)
            return None
        rule, variables = found
        try:
            bindings = self._bind(rule, variables, query)
        except TranscodeError as error:
            return _refuse(str(error))
        if bindings is None:
            return None
        self._bindings = bindings
        self._rule = rule
        self._content_type = request.get("content-type") or ""
        self._readdress(rule, request, stream)
        if stream.request_end:
            self._gives_body = True
            try:
                stream.give_request_body(self, self._call(rule, b""))
            except TranscodeError as error:
                return _refuse(str(error))
        return None

    def _readdress(self, rule: Rule, request: RequestHeaders, stream: Stream) -> None:
        """Point the request at the method."""
        request.remove("content-length")
        request["content-type"] = "application/grpc"
        request["x-envoy-original-path"] = request.path
        request["x-envoy-original-method"] = request.method
        request.path = rule.path
        request.method = "POST"
        request["te"] = "trailers"
        stream.client_is_grpc = False
        if not self.config.keeps_route:
            stream.clear_route()

    def _bind(
        self, rule: Rule, variables: list[tuple[tuple[str, ...], str]], query: str
    ) -> list[tuple[list[Any], str]] | None:
        """What path and query set, the path last; None if there is more in the query than the message has.

        Raises TranscodeError where that is to be refused.
        """
        config, kind = self.config, rule.method.input_type
        bound: list[tuple[list[Any], str]] = []
        for part in query.split("&") if query else ():
            name, _, value = part.partition("=")
            name = unescape(name)
            if not name or name in config.ignored:
                continue
            fields = field_path(kind, name.split("."))
            if fields is not None:
                bound.append((fields, unescape(value, plus=config.plus_is_space)))
            elif config.ignores_unknown:
                continue
            elif not config.refuses_unknown_parameters:
                return None
            else:
                raise TranscodeError(f'Could not find field "{name}" in the type "{kind.full_name}".')
        return bound + [(field_path(kind, name) or [], value) for name, value in variables]

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> bytes | LocalReply | None:
        rule = self._rule
        if rule is None:
            return None
        try:
            return self._call(rule, data)
        except TranscodeError as error:
            return _refuse(str(error))

    def _call(self, rule: Rule, body: bytes) -> bytes:
        """The framed messages of a request. Raises TranscodeError."""
        if rule.client_streaming and not rule.raw_request and rule.body is not None:
            return b"".join([frame(self._message(rule, each)) for each in _elements(body)])
        return frame(self._message(rule, body))

    def _message(self, rule: Rule, body: bytes) -> bytes:
        schema = self.config.schema
        assert schema is not None
        message = schema.make(rule.method.input_type)
        if rule.body is not None:
            self._fill(rule, message, body)
        said = [is_set(message, fields) for fields, _ in self._bindings]
        for (fields, text), by_body in zip(self._bindings, said, strict=True):
            if not by_body:
                bind(message, fields, text, any_case=self.config.any_case)
            elif self.config.refuses_collisions:
                name = ".".join([field.name for field in fields])
                raise TranscodeError(f'The binding value of "{name}" collides with the body')
        return bytes(message.SerializeToString())

    def _fill(self, rule: Rule, message: Message, body: bytes) -> None:
        schema = self.config.schema
        assert schema is not None
        target: Any = message
        if rule.raw_request:
            for field in rule.body or ():
                target = getattr(target, field.name)
            target.content_type, target.data = self._content_type, body
            return
        text = body
        for field in reversed(rule.body or ()):
            text = b'{"' + field.json_name.encode() + b'":' + (text or b"null") + b"}"
        if text.strip():
            schema.read_json(text, message)

    # The response.

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        rule = self._rule
        if rule is None or not is_grpc_response(response, stream.response_end):
            return
        self._transcodes_response = True
        if stream.response_end:
            self._end_at_once(rule, response, stream)
            return
        events = rule.server_streaming and self.config.sse_delimited and not rule.raw_response
        response["content-type"] = _SSE if events else _JSON
        if rule.server_streaming:
            response.remove("content-length")

    def _end_at_once(self, rule: Rule, response: ResponseHeaders, stream: Stream) -> None:
        """An answer that is its trailers alone."""
        body = self._converted(response, response)
        if body is not None:
            for name in ("grpc-status", "grpc-message", "grpc-status-details-bin"):
                response.remove(name)
            response["content-length"] = str(len(body))
        else:
            _set_status(response, grpc_status(response), stream)
            if rule.server_streaming:
                response["content-type"] = _JSON
                body = self._close_stream()
            else:
                response["content-length"] = "0"
        if body:
            stream.response_code = response.status
            self._gives_response = True
            stream.give_response_body(self, body)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> bytes | None:
        rule = self._rule
        if rule is None or not self._transcodes_response:
            return None
        response = stream.response
        assert response is not None
        if rule.server_streaming:
            out = self._stream_messages(rule, data, response)
            return out + self._close_stream() if end else out
        body = b"".join([self._one(rule, each, response) for each in self._messages(data)])
        trailers = stream.response_trailers
        if trailers is None:
            return body
        converted = self._converted(trailers, response) if not data else None
        if converted is not None:
            response["content-length"] = str(len(converted))
            stream.response_code = response.status
            return converted
        status = grpc_status(trailers)
        _set_status(response, status, stream)
        if status is not None and status >= 0:
            response["grpc-status"] = str(status)
        message = trailers.get("grpc-message")
        if message is not None:
            response["grpc-message"] = message
        if stream.protocol.startswith("HTTP/1"):
            response.remove("trailer")
        response["content-length"] = str(len(body))
        return body

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        rule = self._rule
        if rule is not None and self._transcodes_response and rule.server_streaming:
            stream.add_response_body(self._close_stream())

    def _messages(self, data: bytes) -> list[bytes]:
        """The messages that are whole by now."""
        held, found = self._held + data, []
        while len(held) >= FRAME_HEAD:
            size = FRAME_HEAD + int.from_bytes(held[1:FRAME_HEAD], "big")
            if len(held) < size:
                break
            found.append(held[FRAME_HEAD:size])
            held = held[size:]
        self._held = held
        return found

    def _one(self, rule: Rule, data: bytes, response: ResponseHeaders) -> bytes:
        """A message as JSON, or as what it stands for. What is none makes nothing."""
        schema = self.config.schema
        assert schema is not None
        message: Any = schema.make(rule.method.output_type)
        try:
            message.ParseFromString(data)
        except DecodeError:
            return b""
        if not rule.raw_response:
            return schema.as_json(message, self.config.print_options)
        raw = message if rule.response_field is None else getattr(message, rule.response_field.name)
        try:
            response["content-type"] = check_value(raw.content_type)
        except ValueError:
            response.remove("content-type")
        response["content-length"] = str(len(raw.data))
        return bytes(raw.data)

    def _stream_messages(self, rule: Rule, data: bytes, response: ResponseHeaders) -> bytes:
        out = b""
        for each in self._messages(data):
            text = self._one(rule, each, response)
            if rule.raw_response:
                out += text
            elif self.config.sse_delimited:
                out += b"data: " + text + b"\n\n"
            elif self.config.newline_delimited:
                out += text + b"\n"
            else:
                out += (b"," if self._began else b"[") + text
                self._began = True
        return out

    def _close_stream(self) -> bytes:
        config, rule = self.config, self._rule
        if config.newline_delimited or config.sse_delimited or (rule is not None and rule.raw_response):
            return b""
        return b"]" if self._began else b"[]"

    def _converted(self, fields: Headers | ResponseHeaders, response: ResponseHeaders) -> bytes | None:
        """The status of a call that failed as JSON, where that is wanted; the response gets its HTTP status."""
        status = grpc_status(fields)
        if not self.config.converts_status or status is None or not 0 < status < len(_HTTP_STATUS):
            return None
        details = _details(fields)
        if details is None:
            details = status_pb2.Status(code=status, message=fields.get("grpc-message") or "")
        plain: dict[str, Any] = {"code": details.code, "message": details.message}
        response.status = _HTTP_STATUS[status]
        response["content-type"] = _JSON
        schema = self.config.schema
        assert schema is not None
        plain["details"] = [schema.plain_any(each) for each in details.details]
        if not self.config.print_options.always_print_primitive_fields:
            plain = {key: value for key, value in plain.items() if value}
        return dump(plain, self.config.print_options)


def _details(fields: Headers | ResponseHeaders) -> status_pb2.Status | None:
    text = fields.get("grpc-status-details-bin")
    if text is None:
        return None
    try:
        return status_pb2.Status.FromString(base64.b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, DecodeError, ValueError):
        return None


def _set_status(response: ResponseHeaders, status: int | None, stream: Stream) -> None:
    if status is None or status < 0:
        response.status = 503
    else:
        response.status = _HTTP_STATUS[status] if status < len(_HTTP_STATUS) else 500
    stream.response_code = response.status


def _elements(body: bytes) -> list[bytes]:
    """The elements of an array, each as JSON. Raises TranscodeError."""
    try:
        found = json.loads(body or b"[]")
    except (ValueError, RecursionError) as error:
        raise TranscodeError(str(error)) from None
    if not isinstance(found, list):
        raise TranscodeError("Expected an array instead of an object")
    return [json.dumps(each).encode() for each in found]


def _refuse(text: str, kind: str = "INVALID_ARGUMENT", status: int = 400) -> LocalReply:
    return LocalReply(status, text.encode(), details=f"grpc_transcode_failed{{{kind}}}")
