"""The request half of a stream's way through its filter chain; see `http_stream` for the theory of both halves."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from meshproxy.chain.diversion import RequestDiversion
from meshproxy.chain.held_body import HeldBody, Holding
from meshproxy.chain.http_plan import HttpPlan
from meshproxy.chain.http_response import Piece, ResponsePipeline, Rest
from meshproxy.chain.http_wire import Suspended
from meshproxy.headers import Headers
from meshproxy.plugin.http import UP_TO_LIMIT, WHAT_IS_HERE, BodyPart, Parted, TerminalHttpFilter
from meshproxy.plugin.replies import PAYLOAD_TOO_LARGE, LocalReply


class RequestPipeline(ResponsePipeline):
    """Passes a request through the hooks and gives it to the terminal filter.

    A head that has passed all filters is `_headers_passed`; while one stands behind a filter that wants the body,
    `_held` collects that, and `request_diverted` is what takes it in.
    """

    plan: HttpPlan

    _headers_passed: bool = False
    _request_waits: bool = False
    _request_queue: list[tuple[Piece, bool, int]] | None = None
    _held: HeldBody | None = None
    _had_whole: frozenset[int] = frozenset()
    _request_trailers_position: int = -1
    request_diverted: RequestDiversion | None = None

    # The head.

    def _pass_request_headers(self, at: int) -> None:
        plan = self.plan
        filters = self.filters
        request = self.request
        hooks = plan.request_headers
        buffered = plan.request_buffered or None
        # A plain hook takes 0.08 us; it took 0.11 with positions counted. Where to go on is looked up when it matters.
        for position in hooks[at:] if at else hooks:
            try:
                result = filters[position].on_request_headers(request, self)
                if result is not None and not isinstance(result, LocalReply):
                    result = self.run_hook(result)
                    if result is not None:
                        if isinstance(result, Suspended):
                            self._hold_request()
                            result.then(self._request_headers_resumed, position, hooks.index(position) + 1)
                            return
                        _check_reply(result)
            except Exception as error:  # a filter is foreign code: its fault must stay its stream's
                if not self.contain(position, error):
                    return
                result = None
            if result is not None:
                self.reply(result)
                return
            if self.request_over:
                return
            if buffered is not None and self._holds_request_at(position, hooks.index(position) + 1):
                return
        self._headers_passed = True
        terminal = len(filters) - 1
        try:
            result = filters[terminal].on_request_headers(request, self)
            if result is not None:
                assert not isinstance(result, LocalReply)
                result = self.run_hook(result)
                if isinstance(result, Suspended):
                    self._hold_request()
                    result.then(self._terminal_resumed, terminal)
                    return
        except Exception as error:  # as above
            self.contain(terminal, error)
            return
        if self._request_queue:
            self._work_off()

    def _terminal_resumed(self, position: int, result: Any, error: BaseException | None) -> None:
        if self._release_request(position, error):
            if self._request_queue:
                self._work_off()
            self._write_out()

    def _request_headers_resumed(self, position: int, at: int, result: Any, error: BaseException | None) -> None:
        if not self._release_request(position, error) or self._took_reply(position, result):
            return
        if not self._holds_request_at(position, at):
            self._pass_request_headers(at)
        self._write_out()

    # Waiting.

    def _hold_request(self) -> None:
        self._request_waits = True
        self.read_disable(True)

    def _release_request(self, position: int, error: BaseException | None) -> bool:
        """Undo `_hold_request`; say whether the chain may go on."""
        self._request_waits = False
        if self.done:
            return False
        self.read_disable(False)
        if self.request_over:
            return False
        if error is None or self.contain(position, error):
            return not self.done
        self._write_out()
        return False

    def _took_reply(self, position: int, result: Any) -> bool:
        """Whether a hook that waited for a head or trailers has ended the request."""
        if result is None:
            return False
        try:
            _check_reply(result)
        except TypeError as error:
            if self.contain(position, error):
                return False
        else:
            self.reply(result)
        self._write_out()
        return True

    def _write_out(self) -> None:
        """What was joined up has to be written: after a wait no read of a socket stands below that would do it."""
        self.flush()
        if self._headers_passed and not self.done:
            terminal = self.filters[-1]
            if isinstance(terminal, TerminalHttpFilter):
                terminal.on_request_read_done(self)

    # Body and trailers.

    def receive_body(self, data: bytes, end: bool) -> None:
        """A piece of the request's body has come; `end`: the request is complete."""
        self.bytes_received += len(data)
        if self._headers_passed and not self.plan.request_body and not self._request_waits:
            if not self.request_over:
                self._give_body(data, end)
            return
        self._receive(data, end)

    def receive_trailers(self, trailers: Headers) -> None:
        """The request ended with trailers."""
        self.request_trailers = trailers
        self._receive(trailers, True)

    def _give_body(self, data: bytes, end: bool) -> None:
        terminal = len(self.filters) - 1
        try:
            self.filters[terminal].on_request_body(data, end, self)
        except Exception as error:  # a filter is foreign code: its fault must stay its stream's
            self.contain(terminal, error)

    def _receive(self, piece: Piece, end: bool) -> None:
        if self.request_over:
            return
        if self._request_waits or (not self._headers_passed and self._held is None and self.request_diverted is None):
            self._queue().append((piece, end, 0))
        else:
            self._pass_piece(piece, end, 0)

    def _queue(self) -> list[tuple[Piece, bool, int]]:
        if self._request_queue is None:
            self._request_queue = []
        return self._request_queue

    def _work_off(self) -> None:
        """Pass on what was queued, until the chain stops again."""
        while (queue := self._request_queue) and not self._request_waits and not self.request_over:
            piece, end, at = queue.pop(0)
            self._pass_piece(piece, end, at)

    def _pass_piece(self, piece: Piece, end: bool, at: int) -> None:
        if isinstance(piece, bytes):
            self._pass_request_body(piece, end, at)
        elif isinstance(piece, Headers):
            self._pass_request_trailers(piece, at)
        else:
            self._go_on_with_request_part(piece, end, at)

    def _pass_request_body(self, data: bytes, end: bool, at: int) -> None:
        hooks = self.plan.request_body
        while at < len(hooks):
            position = hooks[at]
            if self._held is not None and position == self._held.position:
                self._collect(self._held, data, end, at)
                return
            if self.request_diverted is not None and position == self.request_diverted.position:
                self.request_diverted.take_body(data, end)
                return
            at += 1
            if position in self._had_whole:
                continue
            proceed, data = self._call_body_hook(position, at, data, end)
            if not proceed:
                return
        self._give_body(data, end)

    def _call_body_hook(self, position: int, at: int, data: bytes, end: bool) -> tuple[bool, bytes]:
        """Run one body hook. Returns whether to go on now, and the data to go on with."""
        try:
            result = self.filters[position].on_request_body(data, end, self)
            if result is not None and not isinstance(result, bytes | LocalReply | Parted):
                result = self.run_hook(result)
                if isinstance(result, Suspended):
                    self._hold_request()
                    result.then(self._request_body_resumed, position, at, data, end)
                    return False, data
                _check_body_result(result)
            if isinstance(result, Parted):
                self._part_request(result, end, at)
                return False, data
        except Exception as error:  # a filter is foreign code: its fault must stay its stream's
            return self.contain(position, error), data
        if isinstance(result, LocalReply):
            self.reply(result)
            return False, data
        if result is not None:
            data = result
        return (bool(data) or end) and not self.request_over, data

    def _request_body_resumed(
        self, position: int, at: int, data: bytes, end: bool, result: Any, error: BaseException | None
    ) -> None:
        if not self._release_request(position, error):
            return
        self._take_request_part(position, at, data, end, result)
        self._work_off()
        self._write_out()

    def _take_request_part(self, position: int, at: int, data: bytes, end: bool, result: Any) -> None:
        """Go on behind a body hook that had to wait."""
        if isinstance(result, Parted):
            try:
                self._part_request(result, end, at)
            except TypeError as fault:
                self.contain(position, fault)
            return
        if isinstance(result, bytes):
            data = result
        elif self._took_reply(position, result):
            return
        held = self._held
        if held is not None and position == held.position:
            self._pass_held_request(held, at, data)
        elif data or end:
            self._pass_request_body(data, end, at)

    def _part_request(self, parted: Parted, end: bool, at: int) -> None:
        """Pass a part on; its rest is the next in the queue, and goes on behind the hook that has parted it."""
        position = self.plan.request_body[at - 1]
        if self._held is not None and position == self._held.position:
            raise TypeError("a hook that has the body whole can't give it in parts")
        rest = parted.rest
        if isinstance(rest, Headers):
            self.request_trailers = rest
            at_rest, end = sum(each <= position for each in self.plan.request_trailers), True
        else:
            at_rest = at
        self._queue().insert(0, (rest, end, at_rest))
        if parted.data:
            self._pass_request_body(parted.data, False, at)
        self._work_off()

    def _go_on_with_request_part(self, rest: Rest, end: bool, at: int) -> None:
        position = self.plan.request_body[at - 1]
        try:
            result = self.run_hook(rest())
        except Exception as error:  # a filter is foreign code: its fault must stay its stream's
            if not self.contain(position, error):
                return
            result = None
        if isinstance(result, Suspended):
            self._hold_request()
            result.then(self._request_body_resumed, position, at, b"", end)
        else:
            self._take_request_part(position, at, b"", end, result)

    # Filters that want the whole body, or the beginning of it.

    def _holds_request_at(self, position: int, resume_at: int) -> bool:
        """Whether the head stands behind this filter from now on, until the body is there."""
        if self.request_end or position not in self.plan.request_buffered:
            return False
        diverted = self.request_diverted
        if diverted is not None and diverted.position == position:
            diverted.resume_at = resume_at
            if not diverted.head_is_out:
                self._work_off()
            return not diverted.head_is_out
        wanted = self.filters[position].wants_request_body()
        queue = self._request_queue
        if not wanted or (wanted is WHAT_IS_HERE and not (queue and isinstance(queue[0][0], bytes))):
            return False
        if wanted is not WHAT_IS_HERE:
            self._had_whole |= {position}
        self._held = HeldBody(position, resume_at, wanted if isinstance(wanted, BodyPart) else None)
        self._work_off()
        return True

    def _collect(self, held: HeldBody, data: bytes, end: bool, at: int) -> None:
        taking = self.filters[held.position]
        takes_part = taking.accepts_partial_body or held.part is UP_TO_LIMIT
        what = held.add(data, end, taking.body_limit or self.body_limit, takes_part=takes_part)
        if what is Holding.GIVE:
            self._give_held_request(held, at + 1)
        elif what is Holding.TOO_LARGE:
            held.take()
            self.reply(PAYLOAD_TOO_LARGE)

    def _give_held_request(self, held: HeldBody, at: int) -> None:
        """The body is whole, or as much of it is there as the filter takes: give it to the filter."""
        proceed, data = self._call_body_hook(held.position, at, held.take(), held.told_end)
        if proceed:
            self._pass_held_request(held, at, data)

    def _pass_held_request(self, held: HeldBody, at: int, data: bytes) -> None:
        """Let the head go on behind a filter that has had the body, then the body after it."""
        self._held = None
        held.correct_length(self.request, len(data))
        if data or held.ends:
            self._queue().insert(0, (data, held.ends, at))
        self._pass_request_headers(held.resume_at)

    # Trailers.

    @property
    def holds_request_head(self) -> bool:
        """See `Stream`."""
        return self._held is not None

    def _pass_request_trailers(self, trailers: Headers, at: int) -> None:
        hooks = self.plan.request_trailers
        while True:
            held = self._held
            if held is not None and (at == len(hooks) or hooks[at] >= held.position):
                # Filters before this one may have had more to say of the body.
                self._queue().append((trailers, True, at))
                held.end_with_trailers()
                self._give_held_request(held, self.plan.request_body.index(held.position) + 1)
                return
            diverted = self.request_diverted
            if diverted is not None and (at == len(hooks) or hooks[at] >= diverted.position):
                diverted.take_trailers(trailers)
                return
            if at == len(hooks):
                break
            position = self._request_trailers_position = hooks[at]
            at += 1
            try:
                result = self.filters[position].on_request_trailers(trailers, self)
                if result is not None and not isinstance(result, LocalReply):
                    result = self.run_hook(result)
                    if isinstance(result, Suspended):
                        self._hold_request()
                        result.then(self._request_trailers_resumed, position, at, trailers)
                        return
                    if result is not None:
                        _check_reply(result)
            except Exception as error:  # a filter is foreign code: its fault must stay its stream's
                if not self.contain(position, error):
                    return
                result = None
            if result is not None:
                self.reply(result)
                return
            if self.request_over:
                return
            if self._request_waits:  # what the hook added waits for a filter
                self._queue().append((trailers, True, at))
                return
        terminal = len(self.filters) - 1
        try:
            self.filters[terminal].on_request_trailers(trailers, self)
        except Exception as error:  # as above
            self.contain(terminal, error)

    def _request_trailers_resumed(
        self, position: int, at: int, trailers: Headers, result: Any, error: BaseException | None
    ) -> None:
        if not self._release_request(position, error) or self._took_reply(position, result):
            return
        self._pass_request_trailers(trailers, at)
        self._write_out()

    # Faults.

    @abstractmethod
    def contain(self, position: int, error: BaseException) -> bool:
        """A filter raised: count and log it, and fail the stream. True: the filter says to go on without it."""


def _check_reply(result: Any) -> None:
    if not isinstance(result, LocalReply):
        raise TypeError(f"a hook returned {type(result).__name__}, not LocalReply or None")


def _check_body_result(result: Any) -> None:
    if result is not None and not isinstance(result, bytes | LocalReply):
        raise TypeError(f"a body hook returned {type(result).__name__}, not bytes, LocalReply or None")
