"""A request and its response on their way through an HTTP filter chain.

Theory. Each direction is a pipeline: head, then pieces of body, then perhaps trailers, through the hooks that the
plan lists. Nearly always every hook is a plain function that returns None and the pipeline is a loop. Two things make
it stop, and both stop one direction only (`diversion` has a third):

- a hook *waits* (its coroutine suspended): what arrives meanwhile is queued at the entry and the source is paused;
- a filter *buffers*: the head stands behind it until the body is whole.

When the reason is gone the loop goes on at the index it stopped at, then the queue is worked off. A piece in the queue
carries the index it goes on at, and whoever takes pieces off looks at the queue anew each time, because passing one
piece on may put another before the rest.

Invariants:
- hooks see head, body and trailers of one direction in this order, and nothing after the end;
- once a local reply was given no request hook runs; once `done` is set no hook but `on_stream_complete` runs, and that
  one runs once for each instance;
- a response head reaches the wire at most once; a local reply after it becomes a reset.

This module does no input or output: what touches the wire, the loop or the program's log is abstract here.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from meshproxy.chain.diversion import RequestDiversion, ResponseDiversion
from meshproxy.chain.http_request import RequestPipeline
from meshproxy.chain.http_response import Piece
from meshproxy.headers import Headers
from meshproxy.plugin.calls import Outlet
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.http import FAIL_OPEN


class FilterStream(RequestPipeline):
    """Both halves, with the making of the filters, their faults and their end."""

    def begin(self) -> None:
        """Start the request through the chain; `request` and `request_end` are set."""
        self.request_over = False  # an attribute of the instance is read in a third of the time
        failed = self.make_filters()
        if failed < 0:
            self._pass_request_headers(0)
        else:
            self.reply(self.failure_reply(failed))

    def make_filters(self) -> int:
        """Make the stream's instances of the filters. Returns the position of one that failed (there are none then, and
        no hook is called), or -1."""
        plan = self.plan
        self.filters = filters = plan.shared.copy()
        position = 0
        try:
            for position, make, config, context in plan.per_stream:
                filters[position] = make(config, context)
        except Exception as error:  # a filter is foreign code: its fault must stay its stream's
            self.filters = []
            self.report_failure(self.plan.names[position], self.plan.makers[position][2], error)
            self.skip_response_hooks = True
            return position
        return -1

    # Bodies of filters' own.

    def give_request_body(self, giver: Any, data: bytes) -> None:
        """See `Stream`."""
        position = next(i for i, each in enumerate(self.filters) if each.stands_for(giver))
        self.request_end = False
        self._queue().append((data, True, sum(each <= position for each in self.plan.request_body)))

    def add_request_body(self, data: bytes) -> None:
        """See `Stream`."""
        if data and not self.request_over:
            passed = sum(position <= self._request_trailers_position for position in self.plan.request_body)
            self._pass_request_body(data, False, passed)

    def give_response_body(self, giver: Any, data: bytes, trailers: Headers | None = None) -> None:
        """See `Stream`."""
        position = next(i for i, each in enumerate(self.filters) if each.stands_for(giver))
        self.response_end = False
        queue = self._queued_response()
        queue.append((data, trailers is None, sum(each >= position for each in self.plan.response_body)))
        if trailers is not None:
            self.response_trailers = trailers
            queue.append((trailers, True, sum(each >= position for each in self.plan.response_trailers)))

    def add_response_body(self, data: bytes) -> None:
        """See `Stream`."""
        if data and not self.done:
            passed = sum(position >= self._response_trailers_position for position in self.plan.response_body)
            self._pass_response_body(data, False, passed)

    # Filters that say themselves what follows.

    def divert_request(self, giver: Any, *, holds_head: bool) -> Outlet:
        """See `Stream`."""
        self.request_diverted = RequestDiversion(self, giver, holds_head)
        return self.request_diverted

    def divert_response(self, giver: Any, *, holds_head: bool) -> Outlet:
        """See `Stream`."""
        self.response_diverted = ResponseDiversion(self, giver, holds_head)
        return self.response_diverted

    def resume_request(self, at: int) -> None:
        """The head goes on, from outside of a hook, at the hook with this number."""
        if not self.request_over:
            self._pass_request_headers(at)
            self._write_out()

    def resume_request_piece(self, piece: Piece, end: bool, at: int) -> None:
        """The same for a piece of body or trailers."""
        if self.request_over:
            return
        if self._request_waits or (not self._headers_passed and self._held is None):
            self._queue().append((piece, end, at))
        else:
            self._pass_piece(piece, end, at)
            self._write_out()

    def resume_response(self, at: int) -> None:
        """As `resume_request`."""
        if not self.done:
            self._pass_response_headers(at)
            self.flush()

    def resume_response_piece(self, piece: Piece, end: bool, at: int) -> None:
        """As `resume_request_piece`."""
        if self.done:
            return
        if self._response_waits or (not self.on_wire and self._response_held is None):
            self._queued_response().append((piece, end, at))
        else:
            self._pass_response_piece(piece, end, at)
            self.flush()

    # The end, and faults.

    def note_failure(self, position: int, error: BaseException) -> bool:
        """See `ResponsePipeline`. Nothing goes on without a terminal filter."""
        if not isinstance(error, Exception):
            raise error
        self.report_failure(self.plan.names[position], self.plan.makers[position][2], error)
        return self.filters[position].on_error is FAIL_OPEN and position < len(self.filters) - 1

    def contain(self, position: int, error: BaseException) -> bool:
        """See `RequestPipeline`."""
        if self.note_failure(position, error):
            return True
        if not self.done:
            self.reply(self.failure_reply(position))
        return False

    def complete(self) -> None:
        """Tell the filters that the stream is over. Called once, by whoever found it to be so."""
        for position in self.plan.complete if self.filters else ():
            try:
                self.filters[position].on_stream_complete(self)
            except Exception as error:  # a filter is foreign code, and the access log must be written
                self.report_failure(self.plan.names[position], self.plan.makers[position][2], error)

    @abstractmethod
    def report_failure(self, name: str, context: FactoryContext, error: Exception) -> None:
        """Count and log that the filter `name`, made with `context`, raised."""
