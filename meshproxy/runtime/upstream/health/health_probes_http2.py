"""Health checks over HTTP/2: an HTTP check with `codec_client_type: HTTP2`, and gRPC's own health service.

(grpc.health.v1.Health; the gRPC project's "GRPC Health Checking Protocol".) One connection carries one check after the
other; a host that says GOAWAY is asked over another one next time.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from meshproxy.codec.grpc_messages import MessageReader, frame_message
from meshproxy.codec.h2_client import Http2ClientCodec
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options
from meshproxy.model.health_check import GrpcCheck, HttpCheck
from meshproxy.plugin.mutations import apply_mutations
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.runtime.upstream.health.health_probes import Probe, Verdict, judge_response, make_request

_SERVING = 1


class Http2Probe(Probe):
    """A connection for checks over HTTP/2 (the sink of its codec)."""

    alpn_fallback = "h2"

    def __init__(self, options: Http2Options, now: Callable[[], float], judged: Callable[[Verdict], None]) -> None:
        super().__init__(judged)
        self._codec = Http2ClientCodec(self, options, now)
        self._reading = False
        self._sid = 0
        self._response: ResponseHeaders | None = None
        self._body = b""
        self._limit = 1 << 20

    @abstractmethod
    def _request(self) -> tuple[RequestHeaders, bytes]:
        """What to ask."""

    @abstractmethod
    def _judge(self, response: ResponseHeaders, body: bytes, trailers: Headers | None) -> Verdict:
        """What a whole answer says."""

    def ask(self) -> None:
        self._asking = True
        self.reusable = False
        self._response = None
        self._body = b""
        request, body = self._request()
        self._sid = self._codec.send_request(request, not body)
        if body:
            self._codec.send_data(self._sid, body, True)
        self._write()

    def _write(self) -> None:
        data = self._codec.take()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._reading = True
        self._codec.receive(data)
        self._reading = False
        self._write()

    def _answered(self, trailers: Headers | None) -> None:
        response = self._response
        assert response is not None
        self.reusable = self._codec.can_open
        self._conclude(self._judge(response, self._body, trailers))

    # What the codec tells.

    def on_output(self) -> None:
        """It is written behind each read and each question."""

    def on_stream_response(self, sid: int, response: ResponseHeaders, end: bool) -> None:
        self._response = response
        if end:
            self._answered(None)

    def on_stream_informational(self, sid: int, response: ResponseHeaders) -> None:
        """Not the answer."""

    def on_stream_data(self, sid: int, data: bytes, end: bool) -> None:
        self._body = (self._body + data)[: self._limit]
        if end:
            self._answered(None)
        else:
            self._codec.consumed(sid, len(data))

    def on_stream_trailers(self, sid: int, trailers: Headers) -> None:
        self._answered(trailers)

    def on_stream_reset(self, sid: int, code: int) -> None:
        self._conclude(Verdict.NETWORK)

    def on_stream_error(self, sid: int, error: ProtocolError) -> None:
        self._conclude(Verdict.NETWORK)

    def on_stream_blocked(self, sid: int, blocked: bool) -> None:
        """What checks send is short."""

    def on_goaway(self, last_sid: int, code: int) -> None:
        self.reusable = False

    def on_settings(self) -> None:
        """One request at a time is always allowed, or the check fails."""

    def on_ping_ack(self, payload: bytes) -> None:
        """Checks are asked, not pinged."""

    def on_count(self, name: str) -> None:
        """The cluster's statistics are about its requests."""

    def on_connection_error(self, error: ProtocolError) -> None:
        self._conclude(Verdict.NETWORK)


class HttpProbe2(Http2Probe):
    """Asks for a path."""

    def __init__(
        self,
        check: HttpCheck,
        authority: str,
        options: Http2Options,
        now: Callable[[], float],
        judged: Callable[[Verdict], None],
    ) -> None:
        super().__init__(options, now, judged)
        self._check = check
        self._authority = authority
        self._limit = check.response_buffer_size or self._limit

    def _request(self) -> tuple[RequestHeaders, bytes]:
        return make_request(self._check, self._authority), self._check.send

    def _judge(self, response: ResponseHeaders, body: bytes, trailers: Headers | None) -> Verdict:
        self.note(response)
        return judge_response(self._check, response, body)


class GrpcProbe(Http2Probe):
    """Asks gRPC's health service."""

    def __init__(
        self,
        check: GrpcCheck,
        authority: str,
        timeout: float,
        options: Http2Options,
        now: Callable[[], float],
        judged: Callable[[Verdict], None],
    ) -> None:
        super().__init__(options, now, judged)
        self._check = check
        self._authority = authority
        self._timeout = f"{max(1, int(timeout * 1000))}m"

    def _request(self) -> tuple[RequestHeaders, bytes]:
        check = self._check
        request = RequestHeaders("POST", "/grpc.health.v1.Health/Check", self._authority, "http")
        fields = request.fields
        fields.update({"te": "trailers", "content-type": "application/grpc", "user-agent": "Envoy/HC"})
        if check.mutations is not None:
            info = StreamInfo()
            info.request = request
            apply_mutations((check.mutations,), request, info)
        fields["grpc-timeout"] = self._timeout
        name = check.service.encode()
        message = b"\x0a" + _varint(len(name)) + name if name else b""
        return request, frame_message(message)

    def _judge(self, response: ResponseHeaders, body: bytes, trailers: Headers | None) -> Verdict:
        said = trailers if trailers is not None else response
        if response.status != 200 or said.get("grpc-status") != "0":
            return Verdict.ILL
        try:
            messages = MessageReader().receive(body)
        except ProtocolError:
            return Verdict.ILL
        if len(messages) != 1 or serving_status(messages[0]) != _SERVING:
            return Verdict.ILL
        return Verdict.WELL


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def serving_status(message: bytes) -> int:
    """Field 1 of a `HealthCheckResponse`, 0 if it isn't there; -1 for what is no message of one small number."""
    if not message:
        return 0
    if len(message) == 2 and message[0] == 8 and message[1] < 128:
        return message[1]
    return -1
