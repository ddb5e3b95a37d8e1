"""The response half of a stream's way through its filter chain; see `http_stream` for the theory of both halves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from meshproxy.chain.diversion import ResponseDiversion
from meshproxy.chain.held_body import HeldBody, Holding
from meshproxy.chain.http_plan import HttpPlan
from meshproxy.chain.http_wire import HttpWire, Suspended
from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.plugin.http import UP_TO_LIMIT, WHAT_IS_HERE, BodyPart, HttpFilter, Parted
from meshproxy.plugin.replies import FILTER_FAILED, RESPONSE_TOO_LARGE, LocalReply, ResponseReplaced

Rest = Callable[[], Awaitable[Any]]
Piece = bytes | Headers | Rest
"""A piece of body, or the trailers, or what gives the rest of a piece that a hook parts."""


class ResponsePipeline(HttpWire):
    """Takes a response from whoever answers, passes it through the hooks, and gives it to the wire.

    answered: a response head has entered the pipeline. on_wire: it has reached the wire.
    replied: the response is a local reply.
    request_over: the request goes no further: a local reply was given, or the stream is over (who sets `done` sets
        this too; it is the one thing that is asked after every hook).
    skip_response_hooks: set when the reply is about a response that failed in the hooks, so that it can't fail too.
    """

    plan: HttpPlan
    filters: list[HttpFilter[Any]] = []  # replaced, never changed
    answered: bool = False
    on_wire: bool = False
    replied: bool = False
    request_over: bool = False
    skip_response_hooks: bool = False

    _response_waits: bool = False
    _response_queue: list[tuple[Piece, bool, int]] | None = None
    _response_held: HeldBody | None = None
    _had_whole_response: frozenset[int] = frozenset()
    _response_trailers_position: int = -1
    response_diverted: ResponseDiversion | None = None

    @property
    def body_limit(self) -> int:
        """Bytes that a filter with BUFFER gets unless it says another limit."""
        return 1 << 20

    # The head.

    def send_headers(self, response: ResponseHeaders, end: bool) -> None:
        """See `Stream`."""
        if self.done or self.answered:
            return
        self.answered = True
        self.response = response
        if not self.replied:  # whose code stands, though gRPC is answered with 200
            self.response_code = response.status
        self.response_end = end
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
        buffered = plan.response_buffered or None
        if not self.filters and self.make_filters() >= 0:
            # A reply to what never became a request (Envoy too makes the filters then); it goes out without them.
            hooks = ()
        filters = self.filters
        for position in hooks[at:] if at else hooks:
            try:
                result: Any = filters[position].on_response_headers(response, self)
                if result is not None:
                    result = self.run_hook(result)
                    if isinstance(result, Suspended):
                        self._hold_response()
                        result.then(self._response_headers_resumed, position, hooks.index(position) + 1)
                        return
            except Exception as error:  # a filter is foreign code: its fault must stay its stream's
                if not self.contain_response(position, error):
                    return
            if self.done:
                return
            if buffered is not None and self._holds_response_at(position, hooks.index(position) + 1):
                return
        self.on_wire = True
        self.encode_headers(response, self.response_end)
        if self._response_queue:
            self._work_off_response()

    def _response_headers_resumed(self, position: int, at: int, _: Any, error: BaseException | None) -> None:
        if not self._release_response(position, error):
            return
        if not self._holds_response_at(position, at):
            self._pass_response_headers(at)
        self.flush()

    def _hold_response(self) -> None:
        self._response_waits = True
        self.block_response(True)

    def _release_response(self, position: int, error: BaseException | None) -> bool:
        """Undo `_hold_response`; say whether the response may go on."""
        self._response_waits = False
        if self.done:
            return False
        self.block_response(False)
        if error is None or self.contain_response(position, error):
            return not self.done
        self.flush()
        return False

    # Body and trailers.

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
        if not self.answered:
            raise RuntimeError("a response begins with its head: send_headers")
        held = self._response_held is not None or self.response_diverted is not None
        if self._response_waits or not (self.on_wire or held):
            self._queued_response().append((piece, end, 0))
        else:
            self._pass_response_piece(piece, end, 0)

    def _queued_response(self) -> list[tuple[Piece, bool, int]]:
        if self._response_queue is None:
            self._response_queue = []
        return self._response_queue

    def _work_off_response(self) -> None:
        while (queue := self._response_queue) and not self._response_waits and not self.done:
            piece, end, at = queue.pop(0)
            self._pass_response_piece(piece, end, at)

    def _pass_response_piece(self, piece: Piece, end: bool, at: int) -> None:
        if isinstance(piece, bytes):
            self._pass_response_body(piece, end, at)
        elif isinstance(piece, Headers):
            self._pass_response_trailers(piece, at)
        else:
            self._go_on_with_response_part(piece, end, at)

    def _pass_response_body(self, data: bytes, end: bool, at: int) -> None:
        # A reply to what never became a request has no filters unless one of them has something to say to its head.
        hooks = self.plan.response_body if self.filters and not self.skip_response_hooks else ()
        while at < len(hooks):
            position = hooks[at]
            if self._response_held is not None and position == self._response_held.position:
                self._collect_response(self._response_held, data, end, at)
                return
            if self.response_diverted is not None and position == self.response_diverted.position:
                self.response_diverted.take_body(data, end)
                return
            at += 1
            if position in self._had_whole_response:
                continue
            proceed, data = self._call_response_body_hook(position, at, data, end)
            if not proceed:
                return
        if not self.done:
            self.encode_body(data, end)

    def _call_response_body_hook(self, position: int, at: int, data: bytes, end: bool) -> tuple[bool, bytes]:
        """Run one body hook. Returns whether to go on now, and the data to go on with."""
        try:
            result: Any = self.filters[position].on_response_body(data, end, self)
            if result is not None and not isinstance(result, bytes | Parted):
                result = self.run_hook(result)
                if isinstance(result, Suspended):
                    self._hold_response()
                    result.then(self._response_body_resumed, position, at, data, end)
                    return False, data
            if isinstance(result, Parted):
                self._part_response(result, end, at)
                return False, data
            data = self._changed(data, result)
        except Exception as error:  # a filter is foreign code: its fault must stay its stream's
            return self.contain_response(position, error), data
        return (bool(data) or end) and not self.done, data

    def _part_response(self, parted: Parted, end: bool, at: int) -> None:
        """Pass a part on; its rest is the next in the queue, and goes on behind the hook that has parted it."""
        position = self.plan.response_body[at - 1]
        if self._response_held is not None and position == self._response_held.position:
            raise TypeError("a hook that has the body whole can't give it in parts")
        rest = parted.rest
        if isinstance(rest, Headers):
            self.response_trailers = rest
            at_rest, end = sum(each >= position for each in self.plan.response_trailers), True
        else:
            at_rest = at
        self._queued_response().insert(0, (rest, end, at_rest))
        if parted.data:
            self._pass_response_body(parted.data, False, at)
        self._work_off_response()

    def _go_on_with_response_part(self, rest: Rest, end: bool, at: int) -> None:
        position = self.plan.response_body[at - 1]
        try:
            result = self.run_hook(rest())
        except Exception as error:  # a filter is foreign code: its fault must stay its stream's
            if not self.contain_response(position, error):
                return
            result = None
        if isinstance(result, Suspended):
            self._hold_response()
            result.then(self._response_body_resumed, position, at, b"", end)
        else:
            self._take_response_part(position, at, b"", end, result)

    @staticmethod
    def _changed(data: bytes, result: Any) -> bytes:
        """What a response body hook made of `data`. Raises TypeError for a result that it can't have."""
        if result is None:
            return data
        if not isinstance(result, bytes):
            raise TypeError(f"a response body hook returned {type(result).__name__}, not bytes or None")
        return result

    def _response_body_resumed(
        self, position: int, at: int, data: bytes, end: bool, result: Any, error: BaseException | None
    ) -> None:
        if not self._release_response(position, error):
            return
        self._take_response_part(position, at, data, end, result)
        self._work_off_response()
        self.flush()

    def _take_response_part(self, position: int, at: int, data: bytes, end: bool, result: Any) -> None:
        """Go on behind a body hook that had to wait."""
        try:
            if isinstance(result, Parted):
                self._part_response(result, end, at)
                return
            data = self._changed(data, result)
        except TypeError as fault:
            if not self.contain_response(position, fault):
                return
        held = self._response_held
        if held is not None and position == held.position:
            self._pass_held_response(held, at, data)
        elif data or end:
            self._pass_response_body(data, end, at)

    # Filters that want the whole body, or the beginning of it.

    def _holds_response_at(self, position: int, resume_at: int) -> bool:
        """Whether the head stands behind this filter from now on, until the body is there."""
        if self.response_end or position not in self.plan.response_buffered:
            return False
        diverted = self.response_diverted
        if diverted is not None and diverted.position == position:
            diverted.resume_at = resume_at
            if not diverted.head_is_out:
                self._work_off_response()
            return not diverted.head_is_out
        wanted = self.filters[position].wants_response_body()
        queue = self._response_queue
        if not wanted or (wanted is WHAT_IS_HERE and not (queue and isinstance(queue[0][0], bytes))):
            return False
        if wanted is not WHAT_IS_HERE:
            self._had_whole_response |= {position}
        self._response_held = HeldBody(position, resume_at, wanted if isinstance(wanted, BodyPart) else None)
        self._work_off_response()
        return True

    def _collect_response(self, held: HeldBody, data: bytes, end: bool, at: int) -> None:
        limit = self.filters[held.position].body_limit or self.body_limit
        what = held.add(data, end, limit, takes_part=held.part is UP_TO_LIMIT)
        if what is Holding.GIVE:
            self._give_held_response(held, at + 1)
        elif what is Holding.TOO_LARGE:
            self._replace_response(RESPONSE_TOO_LARGE)

    def _give_held_response(self, held: HeldBody, at: int) -> None:
        """The body is whole, or as much of it is there as the filter takes: give it to the filter."""
        proceed, data = self._call_response_body_hook(held.position, at, held.take(), held.told_end)
        if proceed:
            self._pass_held_response(held, at, data)

    def _pass_held_response(self, held: HeldBody, at: int, data: bytes) -> None:
        """Let the head go on behind a filter that has had the body, then the body after it."""
        assert self.response is not None
        self._response_held = None
        held.correct_length(self.response, len(data))
        if data or held.ends:
            self._queued_response().insert(0, (data, held.ends, at))
        self._pass_response_headers(held.resume_at)

    # Trailers.

    def _pass_response_trailers(self, trailers: Headers, at: int) -> None:
        hooks = self.plan.response_trailers if self.filters and not self.skip_response_hooks else ()
        while True:
            held = self._response_held
            if held is not None and (at == len(hooks) or hooks[at] <= held.position):
                # Filters before this one may have had more to say of the body.
                self._queued_response().append((trailers, True, at))
                held.end_with_trailers()
                self._give_held_response(held, self.plan.response_body.index(held.position) + 1)
                return
            diverted = self.response_diverted
            if diverted is not None and (at == len(hooks) or hooks[at] <= diverted.position):
                diverted.take_trailers(trailers)
                return
            if at == len(hooks):
                break
            position = self._response_trailers_position = hooks[at]
            at += 1
            try:
                result: Any = self.filters[position].on_response_trailers(trailers, self)
                if result is not None:
                    result = self.run_hook(result)
                    if isinstance(result, Suspended):
                        self._hold_response()
                        result.then(self._response_trailers_resumed, position, at, trailers)
                        return
            except Exception as error:  # a filter is foreign code: its fault must stay its stream's
                if not self.contain_response(position, error):
                    return
            if self.done:
                return
            if self._response_waits:  # what the hook added waits for a filter
                self._queued_response().append((trailers, True, at))
                return
        self.encode_trailers(trailers)

    def _response_trailers_resumed(
        self, position: int, at: int, trailers: Headers, _: Any, error: BaseException | None
    ) -> None:
        if self._release_response(position, error):
            self._pass_response_trailers(trailers, at)
            self.flush()

    @property
    def holds_response_head(self) -> bool:
        """See `Stream`."""
        return self._response_held is not None

    # Replies of our own.

    def reply(self, reply: LocalReply) -> None:
        """See `Stream`."""
        if self.done:
            return
        if reply.flags:
            for flag in reply.flags.split(","):
                self.add_flag(flag)
        if self.answered:
            self._replace_response(reply)
            return
        self.replied = self.request_over = True
        self.details = reply.details.replace(" ", "_")
        response, body = self.shape_reply(reply)
        self.send_headers(response, not body)
        if body and not self.done:
            self.send_body(body, True)

    def _replace_response(self, reply: LocalReply) -> None:
        """Send `reply` in place of a response that has entered the pipeline; cut the stream if it has left it."""
        if self.on_wire:
            self.reset(reply.details)
            return
        self.answered = False
        self.skip_response_hooks = True
        self._response_held = None
        self.response_diverted = None
        self._response_queue = None
        self.reply(reply)

    def failure_reply(self, position: int) -> LocalReply:
        """The answer when the filter at `position` raised."""
        details = f"filter_failed{{{self.plan.names[position]}}}"
        return LocalReply(FILTER_FAILED.status, FILTER_FAILED.body, details=details)

    def contain_response(self, position: int, error: BaseException) -> bool:
        """`contain` for a response hook: the response that failed gives way to the reply about it."""
        if isinstance(error, ResponseReplaced):
            if not self.done:
                self._replace_response(error.reply)
            return False
        if self.note_failure(position, error):
            return True
        if not self.done:
            self._replace_response(self.failure_reply(position))
        return False

    @abstractmethod
    def make_filters(self) -> int:
        """Make the stream's instances of the filters; see `FilterStream`."""

    @abstractmethod
    def note_failure(self, position: int, error: BaseException) -> bool:
        """Count and log that a filter raised. Returns whether the stream goes on without it."""
