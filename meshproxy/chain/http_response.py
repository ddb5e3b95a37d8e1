"""The response half of a stream's way through its filter chain; see `http_stream` for the theory of both halves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from meshproxy.chain.http_plan import HttpPlan
from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.plugin.context import Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import RESPONSE_TOO_LARGE, LocalReply

Piece = bytes | Headers
"""A piece of body, or the trailers."""

PENDING: Any = object()
"""What `run_hook` returns for a hook that suspended."""


class ResponsePipeline(Stream):
    """Takes a response from whoever answers, passes it through the hooks, and gives it to the wire.

    done: the stream is over. answered: a response head has entered the pipeline. on_wire: it has reached the wire.
    skip_response_hooks: set after a response hook failed, so that the reply about it can't fail in the same way.
    """

    plan: HttpPlan
    filters: list[HttpFilter[Any]] = []  # replaced, never changed
    body_limit: int = 1 << 20
    done: bool = False
    answered: bool = False
    on_wire: bool = False
    skip_response_hooks: bool = False

    _response_waits: bool = False
    _response_queue: list[tuple[Piece, bool, int]] | None = None
    _response_buffering: int = -1
    _response_buffered: list[bytes] | None = None
    _response_buffered_size: int = 0
    _response_resume_at: int = 0
    _response_end: bool = False

    def send_headers(self, response: ResponseHeaders, end: bool) -> None:
        """See `Stream`."""
        if self.done or self.answered:
            return
        self.answered = True
        self.response = response
        self._response_end = end
        if self.plan.response_headers and not self.skip_response_hooks:
            self._pass_response_headers(0)
        else:
            self.on_wire = True
            self.encode_headers(response, end)

    def _pass_response_headers(self, at: int) -> None:
        plan = self.plan
        response = self.response
        assert response is not None
        hooks = plan.response_headers
        while at < len(hooks):
            position = hooks[at]
            at += 1
            try:
                result = self.filters[position].on_response_headers(response, self)
                if result is not None:
                    waiting = self.run_hook(result, partial(self._response_headers_resumed, position, at))
                    if waiting is PENDING:
                        self._hold_response()
                        return
            except Exception as error:  # a filter is foreign code: its fault must stay its stream's
                if not self._contain_response(position, error):
                    return
            if self.done:
                return
            if position in plan.response_buffered and not self._response_end:
                self._response_buffering = position
                self._response_resume_at = at
                self._response_buffered = []
                self._response_buffered_size = 0
                self._work_off_response()
                return
        self.on_wire = True
        queue = self._response_queue
        self.encode_headers(response, self._response_end)
        if queue is not None:
            self._work_off_response()

    def _response_headers_resumed(self, position: int, at: int, _: Any, error: BaseException | None) -> None:
        if not self._release_response(position, error):
            return
        if position in self.plan.response_buffered and not self._response_end:
            self._response_buffering = position
            self._response_resume_at = at
            self._response_buffered = []
            self._work_off_response()
        else:
            self._pass_response_headers(at)
        self.flush()

    def _hold_response(self) -> None:
        self._response_waits = True
        self.block_response(True)

    def _release_response(self, position: int, error: BaseException | None) -> bool:
        self._response_waits = False
        if self.done:
            return False
        self.block_response(False)
        if error is None or self._contain_response(position, error):
            return not self.done
        self.flush()
        return False

    def send_body(self, data: bytes, end: bool) -> None:
        """See `Stream`."""
        if self.on_wire and not self.plan.response_body:
            if not self.done:
                self.encode_body(data, end)
            return
        self._send_piece(data, end)

    def send_trailers(self, trailers: Headers) -> None:
        """See `Stream`."""
        self.response_trailers = trailers
        self._send_piece(trailers, True)

    def _send_piece(self, piece: Piece, end: bool) -> None:
        if self.done:
            return
        if self._response_waits or (not self.on_wire and self._response_buffering < 0):
            if self._response_queue is None:
                self._response_queue = []
            self._response_queue.append((piece, end, 0))
        else:
            self._pass_response_piece(piece, end, 0)

    def _work_off_response(self) -> None:
        queue = self._response_queue
        while queue and not self._response_waits and not self.done:
            piece, end, at = queue.pop(0)
            self._pass_response_piece(piece, end, at)
        if not queue:
            self._response_queue = None

    def _pass_response_piece(self, piece: Piece, end: bool, at: int) -> None:
        if isinstance(piece, Headers):
            self._pass_response_trailers(piece, at)
        else:
            self._pass_response_body(piece, end, at)

    def _pass_response_body(self, data: bytes, end: bool, at: int) -> None:
        hooks = () if self.skip_response_hooks else self.plan.response_body
        while at < len(hooks):
            position = hooks[at]
            if position == self._response_buffering:
                self._collect_response(data, end, at)
                return
            at += 1
            if position in self.plan.response_buffered:
                continue  # it has had the whole body already
            proceed, data = self._call_response_body_hook(position, at, data, end)
            if not proceed:
                return
        if not self.done:
            self.encode_body(data, end)

    def _call_response_body_hook(self, position: int, at: int, data: bytes, end: bool) -> tuple[bool, bytes]:
        try:
            result = self.filters[position].on_response_body(data, end, self)
            if isinstance(result, LocalReply):
                raise TypeError("a response body hook can't answer with a LocalReply")
            if result is not None and not isinstance(result, bytes):
                resume = partial(self._response_body_resumed, position, at, data, end)
                result = self.run_hook(result, resume)
                if result is PENDING:
                    self._hold_response()
                    return False, data
        except Exception as error:  # a filter is foreign code: its fault must stay its stream's
            return self._contain_response(position, error), data
        if result is not None:
            data = bytes(result)
        return (bool(data) or end) and not self.done, data

    def _response_body_resumed(
        self, position: int, at: int, data: bytes, end: bool, result: Any, error: BaseException | None
    ) -> None:
        if not self._release_response(position, error):
            return
        data = data if result is None else result
        if position == self._response_buffering:
            self._end_response_buffering(at, data, end)
        else:
            if data or end:
                self._pass_response_body(data, end, at)
            self._work_off_response()
        self.flush()

    def _collect_response(self, data: bytes, end: bool, at: int) -> None:
        assert self._response_buffered is not None
        self._response_buffered.append(data)
        self._response_buffered_size += len(data)
        position = self._response_buffering
        if self._response_buffered_size > (self.filters[position].body_limit or self.body_limit):
            self._replace_response(RESPONSE_TOO_LARGE)
            return
        if end:
            self._finish_response_buffering(position, at + 1, True)

    def _finish_response_buffering(self, position: int, at: int, end: bool) -> None:
        assert self._response_buffered is not None
        whole = b"".join(self._response_buffered)
        self._response_buffered = None
        proceed, data = self._call_response_body_hook(position, at, whole, True)
        if proceed:
            self._end_response_buffering(at, data, end)

    def _end_response_buffering(self, at: int, data: bytes, end: bool) -> None:
        """Let the head go on behind a filter that has had the body, then the body after it."""
        assert self.response is not None
        self._response_buffering = -1
        fields = self.response.fields
        if "content-length" in fields and fields["content-length"] != str(len(data)):
            fields["content-length"] = str(len(data))
        self._response_queue = [(data, end, at), *(self._response_queue or [])]
        self._pass_response_headers(self._response_resume_at)

    def _pass_response_trailers(self, trailers: Headers, at: int) -> None:
        if self._response_buffering >= 0:
            self._response_queue = [*(self._response_queue or []), (trailers, True, at)]
            position = self._response_buffering
            self._finish_response_buffering(position, self.plan.response_body.index(position) + 1, False)
            return
        hooks = () if self.skip_response_hooks else self.plan.response_trailers
        while at < len(hooks):
            position = hooks[at]
            at += 1
            try:
                result = self.filters[position].on_response_trailers(trailers, self)
                if result is not None:
                    resume = partial(self._response_trailers_resumed, position, at, trailers)
                    if self.run_hook(result, resume) is PENDING:
                        self._hold_response()
                        return
            except Exception as error:  # a filter is foreign code: its fault must stay its stream's
                if not self._contain_response(position, error):
                    return
        if not self.done:
            self.encode_trailers(trailers)

    def _response_trailers_resumed(
        self, position: int, at: int, trailers: Headers, _: Any, error: BaseException | None
    ) -> None:
        if self._release_response(position, error):
            self._pass_response_trailers(trailers, at)
            self.flush()

    # Replies of our own.

    def reply(self, reply: LocalReply) -> None:
        """See `Stream`."""
        if self.done:
            return
        if reply.flags:
            for flag in reply.flags.split(","):
                self.add_flag(flag)
        if self.answered:
            self.reset(reply.details)
            return
        self.details = reply.details.replace(" ", "_")
        response, body = self.shape_reply(reply)
        self.local_reply_body = body.decode("latin-1")
        self.send_headers(response, not body)
        if body and not self.done:
            self.send_body(body, True)

    def _replace_response(self, reply: LocalReply) -> None:
        """Send `reply` in place of a response that has entered the pipeline but not left it."""
        if self.on_wire:
            self.reset(reply.details)
            return
        self.answered = False
        self.skip_response_hooks = True
        self._response_buffering = -1
        self._response_queue = None
        self.reply(reply)

    def _contain_response(self, position: int, error: BaseException) -> bool:
        """`contain` for a response hook: the response that failed gives way to the reply about it."""
        if not self.on_wire:
            self.answered = False
            self._response_buffering = -1
            self._response_queue = None
        go_on = self.contain(position, error)
        if go_on and not self.on_wire:
            self.answered = True
        return go_on

    # The wire; implemented by the runtime and by the harness.

    @abstractmethod
    def encode_headers(self, response: ResponseHeaders, end: bool) -> None: ...

    @abstractmethod
    def encode_body(self, data: bytes, end: bool) -> None: ...

    @abstractmethod
    def encode_trailers(self, trailers: Headers) -> None: ...

    @abstractmethod
    def block_response(self, blocked: bool) -> None:
        """A response hook waits: stop (or go on) feeding the response."""

    @abstractmethod
    def shape_reply(self, reply: LocalReply) -> tuple[ResponseHeaders, bytes]:
        """The head and body of a local reply, gRPC and `local_reply_config` considered."""

    @abstractmethod
    def contain(self, position: int, error: BaseException) -> bool: ...

    @abstractmethod
    def run_hook(self, hook: Awaitable[Any], resume: Callable[[Any, BaseException | None], None]) -> Any: ...
