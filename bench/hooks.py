"""What a filter costs a request that it lets pass: the real chain without sockets, with ten filters and with none.

A filter's price has two parts: every stream gets an instance of it, and each hook it overrides is called. They are
told apart by filters that take part in the chain but have no hook for requests.

Whatever disturbs a run only makes it slower, and a disturbance lasts longer than a thousandth of a second. So each
chain is run in many slices of about that, in turn with the others, and the fastest slice of a round counts. The
yardstick has its slices among them: it tells whether two figures come from a machine of the same speed.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from functools import partial
from time import process_time
from typing import Any

import uvloop

from bench.results import Result, Series
from bench.scenarios import Hooks
from bench.yardstick import yardstick
from meshproxy.chain.http_plan import HttpPlan, plan_filters
from meshproxy.chain.http_stream import FilterStream
from meshproxy.headers import Headers, RequestHeaders
from meshproxy.model.listener import FilterSpec
from meshproxy.plugin.http import HttpFilter, TerminalHttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.runtime.downstream.hooks import run_hook

FILTERS = 10
REQUESTS = 500
REPEATS = 100


class Hookless(HttpFilter[None]):
    """Takes part in the chain, for a hook that no request of the benchmark reaches."""

    def on_request_trailers(self, trailers: Headers, stream: Any) -> None: ...


class Plain(HttpFilter[None]):
    def on_request_headers(self, request: RequestHeaders, stream: Any) -> None: ...


class Asynchronous(HttpFilter[None]):
    async def on_request_headers(self, request: RequestHeaders, stream: Any) -> LocalReply | None:
        return None


class Last(TerminalHttpFilter[None]):
    """Stands where the router stands, and does nothing."""

    def on_request_headers(self, request: RequestHeaders, stream: Any) -> None: ...


class BenchStream(FilterStream):
    """The chain with the runtime's way to run `async` hooks, and no wire."""

    loop: asyncio.AbstractEventLoop

    def run_hook(self, hook: Any) -> Any:
        return run_hook(self.loop, hook)


BenchStream.__abstractmethods__ = frozenset()  # nothing here reaches the wire
make_stream: Any = BenchStream


def _plan(filter_class: type[HttpFilter[None]] | None) -> HttpPlan:
    classes: list[type[HttpFilter[None]]] = [filter_class] * FILTERS if filter_class else []
    specs = [FilterSpec(f"f{number}", each, None) for number, each in enumerate([*classes, Last])]
    return plan_filters(specs, {})


def once(plan: HttpPlan, loop: asyncio.AbstractEventLoop) -> float:
    """Microseconds per request, of this process alone: others may take the CPU meanwhile."""
    request = RequestHeaders("GET", "/cart", "shop", fields=[("user-agent", "bench")])
    began = process_time()
    for _ in range(REQUESTS):
        stream = make_stream()
        stream.loop = loop
        stream.plan = plan
        stream.request = request
        stream.begin()
    return (process_time() - began) / REQUESTS * 1e6


def plans() -> list[HttpPlan]:
    """Chains without filters, and with ten that have no hook, a plain one, an `async` one."""
    return [_plan(filter_class) for filter_class in (None, Hookless, Plain, Asynchronous)]


def _fastest(chains: list[HttpPlan]) -> list[float]:
    """The fastest slice of each plan, of an empty call and of the yardstick; called from the loop as protocols are."""
    loop = uvloop.new_event_loop()
    slices: list[Callable[[], float]] = [partial(once, plan, loop) for plan in chains]
    slices += [_empty_call, partial(yardstick, 400)]
    times: list[list[float]] = [[] for _ in slices]

    def measure() -> None:
        try:
            for _ in range(REPEATS):
                for run, found in zip(slices, times, strict=True):
                    found.append(run())
        finally:
            loop.stop()

    loop.call_soon(measure)
    gc.collect()
    gc.disable()
    try:
        loop.run_forever()
    finally:
        gc.enable()
        loop.close()
    if not all(times):
        raise RuntimeError("the chain could not be measured; what it raised stands above")
    return [min(found) for found in times]


def _empty_call() -> float:
    """Microseconds of a bare method call: what the machine takes for the least that a hook can cost."""
    one, request, calls = Plain(None, None), RequestHeaders(), range(REQUESTS * FILTERS)  # type: ignore[arg-type]  # never asked for them
    began = process_time()
    for _ in calls:
        one.on_request_headers(request, None)
    with_call = process_time()
    for _ in calls:
        pass
    return (2 * with_call - began - process_time()) / len(calls) * 1e6


def measure_hooks(scenario: Hooks, rounds: int, cpu: int) -> Result:
    """Per filter, in microseconds: (ten filters with the hook - ten without) / 10."""
    plain = Series("a plain hook that returns None", "us", scenario.target_plain_us, absolute=True)
    asynchronous = Series("an async hook that doesn't wait", "us", scenario.target_async_us, absolute=True)
    instance = Series("a filter's instance, per stream", "us", absolute=True)
    empty = Series("for scale: an empty method call", "us", absolute=True)
    scale = Series("for scale: twenty look-ups in a dict", "us", absolute=True)
    chains = plans()
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        for _ in range(rounds):
            none, hookless, with_plain, with_async, one_call, look_ups = _fastest(chains)
            plain.add("meshproxy", (with_plain - hookless) / FILTERS)
            asynchronous.add("meshproxy", (with_async - hookless) / FILTERS)
            instance.add("meshproxy", (hookless - none) / FILTERS)
            empty.add("meshproxy", one_call)
            scale.add("meshproxy", look_ups)
    finally:
        os.sched_setaffinity(0, mine)
    return Result(scenario.name, scenario.title, [plain, asynchronous, instance, empty, scale])
