"""The filter chain: order of hooks, waiting, buffering, replies, faults, and that nothing is lost or told twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import BUFFER, FAIL_OPEN, HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.testing import FilterHarness
from meshproxy.testing.stream import HarnessStream


def nothing(stream: Stream) -> Any:
    return None


@dataclass
class Script:
    """What one filter does. Each entry: hook name -> what it returns, raises, or waits for."""

    name: str = "a"
    seen: list[Any] = field(default_factory=list)
    does: dict[str, Callable[[Stream], Any]] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)


class Plain(HttpFilter[Script]):
    """Notes every call, and does what the script says."""

    def _hook(self, hook: str, what: Any, stream: Stream) -> Any:
        script = self.config
        script.seen.append((script.name, hook, what))
        act = script.does.get(hook, nothing)
        if hook not in script.waits:
            return act(stream)

        async def wait() -> Any:
            await stream.sleep(script.waits[hook])
            script.seen.append((script.name, hook, "woke"))
            return act(stream)

        return wait()

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> Any:
        return self._hook("request", request.path, stream)

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> Any:
        return self._hook("body", (data, end), stream)

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> Any:
        return self._hook("trailers", trailers["t"], stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> Any:
        return self._hook("response", response.status, stream)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> Any:
        return self._hook("response body", (data, end), stream)

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> Any:
        return self._hook("response trailers", trailers["t"], stream)

    def on_stream_complete(self, stream: Stream) -> None:
        self._hook("complete", None, stream)


class FailsOpen(Plain):
    on_error = FAIL_OPEN


class WholeRequest(Plain):
    request_body = BUFFER


class WholeRequestOpen(FailsOpen):
    request_body = BUFFER


class WholeResponse(Plain):
    response_body = BUFFER


class WholeResponseOpen(FailsOpen):
    response_body = BUFFER


def raising(stream: Stream) -> Any:
    raise RuntimeError("of a filter")


def chain(*filters: tuple[type[Plain], Script], **more: Any) -> tuple[FilterHarness, list[Any]]:
    """A harness of these filters, all noting into one list."""
    seen: list[Any] = []
    for _, script in filters:
        script.seen = seen
    first, *others = filters
    return FilterHarness(*first, after=others, **more), seen


def calls(seen: list[Any], hook: str) -> list[Any]:
    return [(name, what) for name, called, what in seen if called == hook]


# Order.


def test_request_hooks_run_first_to_last_and_response_hooks_last_to_first() -> None:
    harness, seen = chain((Plain, Script("a")), (Plain, Script("b")))
    harness.upstream.returns(200, body=b"out", trailers={"t": "2"})
    exchange = harness.request("POST", "/p", chunks=[b"in"], trailers={"t": "1"})
    assert seen == [
        ("a", "request", "/p"),
        ("b", "request", "/p"),
        ("a", "body", (b"in", False)),
        ("b", "body", (b"in", False)),
        ("a", "trailers", "1"),
        ("b", "trailers", "1"),
        ("b", "response", 200),
        ("a", "response", 200),
        ("b", "response body", (b"out", False)),
        ("a", "response body", (b"out", False)),
        ("b", "response trailers", "2"),
        ("a", "response trailers", "2"),
        ("a", "complete", None),
        ("b", "complete", None),
    ]
    assert exchange.complete
    assert exchange.upstream_body == b"in"
    assert exchange.response_body == b"out"
    assert exchange.upstream_trailers == Headers([("t", "1")])
    assert exchange.response_trailers == Headers([("t", "2")])


def test_filters_without_hooks_are_not_called_and_change_nothing() -> None:
    class Bare(HttpFilter[None]):
        pass

    exchange = FilterHarness(Bare).request("POST", "/", body=b"x")
    assert exchange.upstream_body == b"x"
    assert exchange.complete


@pytest.mark.parametrize("pieces", [[b"abcdef"], [b"abc", b"def"], [b"a", b"b", b"c", b"d", b"e", b"f"]])
def test_a_body_arrives_whole_however_it_is_cut(pieces: list[bytes]) -> None:
    harness, seen = chain((Plain, Script()))
    harness.upstream.returns(chunks=pieces)
    exchange = harness.request("POST", chunks=pieces)
    assert exchange.upstream_chunks == pieces == exchange.response_chunks
    ends = [end for _, (_, end) in calls(seen, "body")]
    assert ends == [False] * (len(pieces) - 1) + [True]


# Changing the body.


def test_a_body_hook_may_replace_the_data_and_swallow_them() -> None:
    outcomes = iter([b"", b"B", None])
    harness, _ = chain((Plain, Script(does={"body": lambda _: next(outcomes)})), (Plain, Script("b")))
    exchange = harness.request("POST", chunks=[b"a", b"b", b"c"])
    assert exchange.upstream_chunks == [b"B", b"c"]


def test_a_response_body_hook_may_replace_the_data() -> None:
    harness, _ = chain((Plain, Script(does={"response body": lambda _: b"new"})))
    harness.upstream.returns(chunks=[b"a", b"b"])
    assert harness.request().response_chunks == [b"new", b"new"]


def test_the_end_reaches_the_upstream_even_if_its_last_data_are_swallowed() -> None:
    harness, _ = chain((Plain, Script(does={"body": lambda _: b""})))
    exchange = harness.request("POST", chunks=[b"a", b"b"])
    assert exchange.upstream_chunks == []
    assert exchange.upstream_complete
    assert exchange.complete


# Replies.


@pytest.mark.parametrize("hook", ["request", "body", "trailers"])
def test_a_reply_ends_the_request_where_it_was_given(hook: str) -> None:
    reply = LocalReply(403, b"no", details="a b", flags="RL")
    harness, seen = chain((Plain, Script("a", does={hook: lambda _: reply})), (Plain, Script("b")))
    exchange = harness.request("POST", chunks=[b"x"], trailers={"t": "1"})
    assert exchange.local_reply is reply
    assert exchange.status == 403
    assert exchange.response_body == b"no"
    assert exchange.stream.details == "a_b"
    assert exchange.stream.flags == "RL"
    assert not calls(seen, "trailers") or hook == "trailers"
    assert ("b", hook) not in [(name, called) for name, called, _ in seen]
    assert not exchange.upstream_complete


def test_a_reply_passes_the_response_hooks_of_every_filter() -> None:
    harness, seen = chain((Plain, Script("a", does={"request": lambda _: LocalReply(401)})), (Plain, Script("b")))
    harness.request()
    assert calls(seen, "response") == [("b", 401), ("a", 401)]


def test_a_hook_that_replies_by_itself_and_returns_none_ends_the_request_too() -> None:
    harness, seen = chain(
        (Plain, Script("a", does={"request": lambda stream: stream.reply(LocalReply(418))})), (Plain, Script("b"))
    )
    exchange = harness.request()
    assert exchange.status == 418
    assert not exchange.reached_upstream
    assert calls(seen, "request") == [("a", "/")]


def test_after_a_reply_whose_response_still_waits_no_request_hook_runs() -> None:
    waiting = Script("a", does={"request": lambda _: LocalReply(403)}, waits={"response": 1.0})
    harness, seen = chain((Plain, waiting), (Plain, Script("b")))
    exchange = harness.request("POST", chunks=[b"1", b"2"])
    assert not exchange.answered
    assert calls(seen, "body") == []
    harness.clock.advance(1)
    assert exchange.status == 403
    assert exchange.complete
    assert not exchange.reached_upstream


def test_a_reply_while_a_hook_waits_wins_over_its_result() -> None:
    script = Script(waits={"request": 5.0})
    harness, seen = chain((Plain, script), (Plain, Script("b")))

    def reply_soon(stream: HarnessStream) -> None:
        stream.schedule(1, lambda: stream.reply(LocalReply(408)))

    exchange = harness.request(prepare=reply_soon)
    harness.clock.advance(1)
    assert exchange.status == 408
    assert not exchange.waiting
    harness.clock.advance(10)
    assert not exchange.reached_upstream
    assert calls(seen, "complete") == [("a", None), ("b", None)]


def test_a_reply_after_the_response_head_cuts_the_stream() -> None:
    harness, _ = chain((Plain, Script()))
    harness.upstream.hangs()
    exchange = harness.request("POST", end=False)
    exchange.respond(200, chunks=[b"x", b"y"])
    harness.upstream.hangs()
    exchange = harness.request("POST", end=False)
    with harness.loop.entered():
        exchange.stream.send_headers(ResponseHeaders(200), False)
        exchange.stream.reply(LocalReply(504, details="late"))
    assert exchange.status == 200
    assert exchange.reset == "late"
    assert not exchange.complete


def test_a_grpc_client_is_answered_in_its_own_terms() -> None:
    harness, _ = chain((Plain, Script(does={"request": lambda _: LocalReply(404, b"a\nb")})))
    exchange = harness.request("POST", headers={"content-type": "application/grpc"}, body=b"x")
    assert exchange.status == 200
    assert exchange.response_body == b""
    assert exchange.response["grpc-status"] == "12"
    assert exchange.response["grpc-message"] == "a%0Ab"


# Waiting.


@pytest.mark.parametrize("pieces", [[b"abc"], [b"a", b"b", b"c"]])
def test_while_the_head_waits_the_body_is_queued_and_the_client_not_read(pieces: list[bytes]) -> None:
    harness, seen = chain((Plain, Script("a", waits={"request": 1.0})), (Plain, Script("b")))
    exchange = harness.request("POST", chunks=pieces, trailers={"t": "1"})
    assert exchange.waiting
    assert exchange.paused
    assert calls(seen, "body") == []
    harness.clock.advance(1)
    assert exchange.upstream_chunks == pieces
    assert exchange.upstream_trailers is not None
    assert exchange.complete
    assert not exchange.paused
    assert [called for name, called, _ in seen if name == "b"][: len(pieces) + 2] == [
        "request",
        *["body"] * len(pieces),
        "trailers",
    ]


@pytest.mark.parametrize("hook", ["body", "trailers"])
def test_while_a_later_hook_waits_what_follows_keeps_its_place(hook: str) -> None:
    harness, seen = chain((Plain, Script("a", waits={hook: 1.0})), (Plain, Script("b")))
    exchange = harness.request("POST", chunks=[b"1", b"2", b"3"], trailers={"t": "1"})
    assert exchange.paused
    harness.clock.advance(5)
    assert exchange.upstream_chunks == [b"1", b"2", b"3"]
    assert exchange.complete
    assert [what for _, what in calls(seen, "body") if what != "woke"] == [
        (piece, False) for piece in (b"1", b"1", b"2", b"2", b"3", b"3")
    ]


@pytest.mark.parametrize("hook", ["response", "response body", "response trailers"])
def test_while_a_response_hook_waits_the_upstream_is_not_read_and_nothing_is_lost(hook: str) -> None:
    harness, seen = chain((Plain, Script("a")), (Plain, Script("b", waits={hook: 1.0})))
    harness.upstream.returns(chunks=[b"1", b"2", b"3"], trailers={"t": "1"})
    exchange = harness.request()
    assert not exchange.complete
    harness.clock.advance(5)
    assert exchange.complete
    assert exchange.response_chunks == [b"1", b"2", b"3"]
    assert [called for name, called, _ in seen if name == "a" and called.startswith("response")] == [
        "response",
        *["response body"] * 3,
        "response trailers",
    ]


def test_a_hook_that_does_not_suspend_needs_no_task() -> None:
    async def at_once() -> None:
        return None

    harness, _ = chain((Plain, Script(does={"request": lambda _: at_once(), "body": lambda _: at_once()})))
    exchange = harness.request("POST", body=b"x")
    assert exchange.complete
    assert not exchange.paused


def test_a_waiting_hook_may_reply_and_may_replace_the_data() -> None:
    harness, _ = chain((Plain, Script(waits={"request": 1.0}, does={"request": lambda _: LocalReply(401)})))
    exchange = harness.request()
    harness.clock.advance(1)
    assert exchange.status == 401
    harness, _ = chain((Plain, Script(waits={"body": 1.0}, does={"body": lambda _: b"new"})))
    exchange = harness.request("POST", chunks=[b"a", b"b"])
    harness.clock.advance(3)
    assert exchange.upstream_chunks == [b"new", b"new"]
    harness, _ = chain((Plain, Script(waits={"body": 1.0}, does={"body": lambda _: LocalReply(402)})))
    exchange = harness.request("POST", chunks=[b"a", b"b"])
    harness.clock.advance(3)
    assert exchange.status == 402
    assert exchange.upstream_chunks == []


def test_when_the_client_leaves_a_waiting_hook_is_cancelled() -> None:
    fate: list[str] = []

    class Waits(HttpFilter[None]):
        async def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                fate.append("cancelled")
                raise

        def on_stream_complete(self, stream: Stream) -> None:
            fate.append("complete")

    exchange = FilterHarness(Waits).request()
    assert exchange.waiting
    exchange.client_leaves()
    assert sorted(fate) == ["cancelled", "complete"]
    assert not exchange.waiting
    assert not exchange.reached_upstream


def test_asyncio_timeouts_and_tasks_work_in_hooks() -> None:
    class Gathers(HttpFilter[None]):
        async def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
            try:
                async with asyncio.timeout(0.5), asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0.2))
                    group.create_task(asyncio.sleep(9))
            except TimeoutError:
                return LocalReply(504)
            return None

    harness = FilterHarness(Gathers)
    exchange = harness.request()
    harness.clock.advance(0.6)
    assert exchange.status == 504
    assert harness.errors == []


# Whole bodies.


@pytest.mark.parametrize("pieces", [[b"hello"], [b"hel", b"lo"], [b"h", b"e", b"l", b"l", b"o"]])
@pytest.mark.parametrize("trailers", [{}, {"t": "1"}])
@pytest.mark.parametrize("waits", [{}, {"request": 1.0}, {"body": 1.0}, {"request": 1.0, "body": 1.0}])
@pytest.mark.parametrize("follower", [Script("b"), Script("b", waits={"request": 1.0})])
def test_a_filter_that_buffers_gets_the_body_once(
    pieces: list[bytes], trailers: dict[str, str], waits: dict[str, float], follower: Script
) -> None:
    first = Script("a", waits=waits)
    harness, seen = chain((WholeRequest, first), (Plain, follower))
    exchange = harness.request("POST", headers={"content-length": "5"}, chunks=pieces, trailers=trailers)
    harness.clock.advance(10)
    assert [what for name, what in calls(seen, "body") if name == "a" and what != "woke"] == [(b"hello", True)]
    assert [what for name, what in calls(seen, "body") if name == "b"] == [(b"hello", not trailers)]
    assert len(calls(seen, "trailers")) == (2 if trailers else 0)
    assert exchange.upstream_body == b"hello"
    assert exchange.complete
    assert not exchange.paused
    assert seen.index(("b", "request", "/")) > seen.index(("a", "body", (b"hello", True)))


@pytest.mark.parametrize("waits", [{}, {"body": 1.0}])
@pytest.mark.parametrize("trailers", [{}, {"t": "1"}])
def test_two_filters_that_buffer_each_get_the_whole_body(waits: dict[str, float], trailers: dict[str, str]) -> None:
    harness, seen = chain(
        (WholeRequest, Script("a", waits=waits, does={"body": lambda _: b"changed"})), (WholeRequest, Script("b"))
    )
    exchange = harness.request("POST", headers={"content-length": "4"}, chunks=[b"12", b"34"], trailers=trailers)
    harness.clock.advance(5)
    assert [what for what in calls(seen, "body") if what[1] != "woke"] == [
        ("a", (b"1234", True)),
        ("b", (b"changed", True)),
    ]
    assert exchange.upstream_headers["content-length"] == "7"
    assert exchange.upstream_body == b"changed"
    assert exchange.upstream_complete
    assert (exchange.upstream_trailers is not None) is bool(trailers)


def test_a_request_without_a_body_is_not_held() -> None:
    harness, seen = chain((WholeRequest, Script()))
    assert harness.request().complete
    assert calls(seen, "body") == []


def test_an_empty_body_before_trailers_is_no_piece_for_those_behind() -> None:
    harness, seen = chain((WholeRequest, Script("a")), (Plain, Script("b")))
    exchange = harness.request("POST", trailers={"t": "1"})
    assert calls(seen, "body") == [("a", (b"", True))]
    assert exchange.upstream_complete


@pytest.mark.parametrize("pieces", [[b"123456"], [b"123", b"456"], [b"12345", b"6"]])
def test_a_request_body_over_the_limit_is_413(pieces: list[bytes]) -> None:
    harness, seen = chain((WholeRequest, Script()), body_limit=5)
    exchange = harness.request("POST", chunks=pieces, end=False)
    assert exchange.status == 413
    assert exchange.response_body == b"Payload Too Large"
    assert exchange.complete
    assert exchange.stream.details == "request_payload_too_large"
    assert calls(seen, "body") == []
    exchange.send_body(b"more", True)
    assert not exchange.reached_upstream


def test_a_request_body_of_exactly_the_limit_passes() -> None:
    harness, _ = chain((WholeRequest, Script()), body_limit=5)
    assert harness.request("POST", chunks=[b"123", b"45"]).upstream_body == b"12345"


@pytest.mark.parametrize("chunks", [[b"hello"], [b"hel", b"lo"], [b"h", b"ello", b"!"]])
@pytest.mark.parametrize("trailers", [{}, {"t": "1"}])
@pytest.mark.parametrize("waits", [{}, {"response": 1.0}, {"response body": 1.0}])
@pytest.mark.parametrize("follower", [Script("a"), Script("a", waits={"response": 1.0})])
def test_a_filter_that_buffers_the_response_gets_it_once(
    chunks: list[bytes], trailers: dict[str, str], waits: dict[str, float], follower: Script
) -> None:
    harness, seen = chain(
        (Plain, follower), (WholeResponse, Script("b", waits=waits, does={"response body": lambda _: b"new body"}))
    )
    harness.upstream.returns(headers={"content-length": "5"}, chunks=chunks, trailers=trailers)
    exchange = harness.request()
    harness.clock.advance(10)
    told = [what for name, what in calls(seen, "response body") if name == "b" and what != "woke"]
    assert told == [(b"".join(chunks), True)]
    assert [what for name, what in calls(seen, "response body") if name == "a"] == [(b"new body", not trailers)]
    assert exchange.response["content-length"] == "8"
    assert exchange.response_body == b"new body"
    assert exchange.complete
    assert (exchange.response_trailers is not None) is bool(trailers)


def test_two_filters_that_buffer_the_response_do_not_share_a_budget() -> None:
    harness, _ = chain(
        (WholeResponse, Script("a", waits={"response": 1.0})), (WholeResponse, Script("b")), body_limit=6
    )
    harness.upstream.returns(chunks=[b"hell", b"o"])
    exchange = harness.request()
    harness.clock.advance(2)
    assert exchange.status == 200
    assert exchange.response_body == b"hello"


def test_a_response_body_over_the_limit_is_500_and_no_byte_of_it_leaves() -> None:
    harness, _ = chain((WholeResponse, Script()), body_limit=5)
    harness.upstream.returns(200, {"x-secret": "1"}, chunks=[b"123", b"456", b"789"])
    exchange = harness.request()
    assert exchange.status == 500
    assert exchange.response_body == b"Internal Server Error"
    assert exchange.complete
    assert "x-secret" not in exchange.response
    assert exchange.stream.details == "response_payload_too_large"


# Faults.


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("hook", ["request", "body", "trailers"])
def test_a_request_hook_that_raises_fails_its_own_request(hook: str, waits: bool) -> None:
    script = Script("a", does={hook: raising}, waits={hook: 1.0} if waits else {})
    harness, seen = chain((Plain, script), (Plain, Script("b")), name="bad")
    exchange = harness.request("POST", chunks=[b"x"], trailers={"t": "1"})
    harness.clock.advance(2)
    assert exchange.status == 500
    assert exchange.complete
    assert exchange.response_body == b"Internal Server Error"
    assert exchange.stream.details == "filter_failed{bad}"
    assert harness.stats["http.test.filter.bad.exceptions"] == 1
    assert [(level, fields["filter"]) for level, _, fields in harness.log.events] == [("error", "bad")]
    assert calls(seen, "complete") == [("a", None), ("b", None)]
    assert not exchange.upstream_complete


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("hook", ["request", "body", "trailers", "response", "response body", "response trailers"])
@pytest.mark.parametrize("filter_class", [FailsOpen, WholeRequestOpen, WholeResponseOpen])
def test_a_filter_that_fails_open_is_skipped_and_nothing_is_lost(
    hook: str, waits: bool, filter_class: type[Plain]
) -> None:
    script = Script("a", does={hook: raising}, waits={hook: 1.0} if waits else {})
    harness, _ = chain((filter_class, script), (Plain, Script("b")))
    harness.upstream.returns(chunks=[b"o", b"ut"], trailers={"t": "2"})
    exchange = harness.request("POST", chunks=[b"i", b"n"], trailers={"t": "1"})
    harness.clock.advance(5)
    assert exchange.upstream_body == b"in"
    assert exchange.upstream_complete
    assert exchange.status == 200
    assert exchange.response_body == b"out"
    assert exchange.complete
    assert exchange.response_trailers is not None
    assert (
        harness.stats[
            "http.test.filter.FailsOpen.exceptions"
            if filter_class is FailsOpen
            else f"http.test.filter.{filter_class.__name__}.exceptions"
        ]
        >= 1
    )


@pytest.mark.parametrize("waits", [False, True])
def test_a_response_head_hook_that_raises_gives_500_in_place_of_the_response(waits: bool) -> None:
    script = Script("a", does={"response": raising}, waits={"response": 1.0} if waits else {})
    harness, seen = chain((Plain, script), (Plain, Script("b")))
    harness.upstream.returns(200, {"x-secret": "1"}, chunks=[b"a", b"b"])
    exchange = harness.request()
    harness.clock.advance(2)
    assert exchange.status == 500
    assert exchange.response_body == b"Internal Server Error"
    assert exchange.complete
    assert "x-secret" not in exchange.response
    assert calls(seen, "complete") == [("a", None), ("b", None)]


@pytest.mark.parametrize("waits", [False, True])
def test_a_response_body_hook_that_raises_cuts_what_has_begun(waits: bool) -> None:
    script = Script("a", does={"response body": raising}, waits={"response body": 1.0} if waits else {})
    harness, _ = chain((Plain, script))
    harness.upstream.returns(200, chunks=[b"a", b"b"])
    exchange = harness.request()
    harness.clock.advance(2)
    assert exchange.status == 200
    assert exchange.response_body == b""
    assert not exchange.complete
    assert exchange.reset == "filter_failed{Plain}"


@pytest.mark.parametrize(
    ("hook", "result"), [("request", "text"), ("body", 5), ("trailers", b"x"), ("response", 1), ("response body", 1)]
)
@pytest.mark.parametrize("waits", [False, True])
def test_a_result_that_a_hook_can_not_have_is_a_fault_of_the_filter(hook: str, result: Any, waits: bool) -> None:
    if hook == "response" and waits:
        return  # whatever an awaited head hook gives back there is ignored
    script = Script("a", does={hook: lambda _: result}, waits={hook: 1.0} if waits else {})
    harness, _ = chain((Plain, script))
    harness.upstream.returns(body=b"x")
    exchange = harness.request("POST", chunks=[b"x"], trailers={"t": "1"})
    harness.clock.advance(2)
    assert [type(error) for error in harness.errors] == [TypeError]
    assert (exchange.answered and exchange.status == 500) or exchange.reset is not None


def test_a_filter_whose_making_fails_fails_its_request() -> None:
    class Broken(HttpFilter[None]):
        def __init__(self, config: None, context: FactoryContext) -> None:
            raise RuntimeError("no")

        def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None: ...
        def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None: ...
        def on_stream_complete(self, stream: Stream) -> None: ...

    harness = FilterHarness(Broken, after=[(Plain, Script())])
    exchange = harness.request("POST", chunks=[b"x"])
    assert exchange.status == 500
    assert exchange.complete
    assert harness.stats["http.test.filter.Broken.exceptions"] == 1


def test_a_hook_whose_wait_was_cancelled_fails_its_request() -> None:
    class Cancelled(HttpFilter[None]):
        async def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(1, future.cancel)
            await future

    harness = FilterHarness(Cancelled)
    exchange = harness.request()
    harness.clock.advance(2)
    assert exchange.status == 500
    assert exchange.complete


def test_a_hook_that_is_cancelled_before_it_suspends_fails_its_request() -> None:
    class Cancelled(HttpFilter[None]):
        async def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
            raise asyncio.CancelledError

    assert FilterHarness(Cancelled).request().status == 500


def test_a_fault_in_on_stream_complete_is_counted_and_the_others_are_told() -> None:
    harness, seen = chain((Plain, Script("a", does={"complete": raising})), (Plain, Script("b")))
    exchange = harness.request()
    assert exchange.status == 200
    assert calls(seen, "complete") == [("a", None), ("b", None)]
    assert harness.stats["http.test.filter.Plain.exceptions"] == 1


def test_nothing_runs_after_the_end_of_the_stream() -> None:
    harness, seen = chain((Plain, Script()))
    harness.upstream.hangs()
    exchange = harness.request("POST", chunks=[b"1"], end=False)
    exchange.client_leaves()
    before = list(seen)
    exchange.send_body(b"2", True)
    exchange.client_leaves()
    with harness.loop.entered():
        exchange.stream.reply(LocalReply(500))
    assert seen == before
    assert exchange.upstream_chunks == [b"1"]
    assert not exchange.answered


def test_an_early_response_does_not_stop_the_request() -> None:
    harness, _ = chain((Plain, Script()))
    harness.upstream.hangs()
    exchange = harness.request("POST", chunks=[b"1"], end=False)
    with harness.loop.entered():
        exchange.stream.send_headers(ResponseHeaders(200), False)
    exchange.send_body(b"2", True)
    assert exchange.upstream_chunks == [b"1", b"2"]


def test_a_filter_sees_what_the_client_speaks() -> None:
    spoken: list[str] = []
    harness, _ = chain((Plain, Script(does={"request": lambda stream: spoken.append(stream.protocol)})))
    harness.request(protocol="HTTP/2")
    harness.request()
    assert spoken == ["HTTP/2", "HTTP/1.1"]
