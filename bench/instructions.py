"""How many machine instructions a request takes in user space, sockets and kernel left out.

    python -m bench.instructions [NAME ...]

A count depends on no other program and on no clock, so it tells a change of half a percent where times of a busy
machine don't tell one of ten. It says nothing about caches and the kernel: what the whole is worth `scripts/bench`
shows.

Each workload runs under valgrind twice, the second time with twice the work; the difference, divided by that work, is
free of start and end. Needs valgrind (`apt-get install valgrind`).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from bench import hooks
from bench.path_micro import PROXIES
from bench.wired import serve, serve_http2
from bench.wireless import WirelessProxy, requests, scratch
from meshproxy.proxy import tune_collector

_COUNTER = ("valgrind", "--tool=exp-bbv", "--instr-count-only=yes", "--bb-out-file=/dev/null")
_TOTAL = re.compile(r"Total instructions: (\d+)")


async def _proxy(configuration: str, count: int, serve: Callable[[WirelessProxy, list[bytes]], None]) -> None:
    with scratch() as name:
        proxy = WirelessProxy(asyncio.get_running_loop(), configuration, Path(name))
        batch = requests(500, close=serve is WirelessProxy.serve_each_apart)
        tune_collector()
        for _ in range(count // len(batch)):
            serve(proxy, batch)
        proxy.close()


async def _http2_path(client: str, count: int) -> None:
    with scratch() as name:
        proxy = PROXIES[client](asyncio.get_running_loop(), "istio+h2up", Path(name))
        tune_collector()
        for _ in range(count // 500):
            proxy.serve(proxy.batch(500))
        proxy.close()


async def _wired(configuration: str, count: int, *, close: bool) -> None:
    with scratch() as name:
        await serve(configuration, Path(name), count, connections=8, close=close)


async def _http2(configuration: str, count: int, *, grpc: bool) -> None:
    with scratch() as name:
        await serve_http2(configuration, Path(name), count, grpc=grpc)


async def _hooks(count: int, position: int) -> None:
    plan = hooks.plans()[position]
    gc.disable()
    for _ in range(count // hooks.REQUESTS):
        hooks.once(plan, asyncio.get_running_loop())


WORKLOADS = {
    "istio": lambda count: _proxy("istio", count, WirelessProxy.serve),
    "router": lambda count: _proxy("router", count, WirelessProxy.serve),
    "chain": lambda count: _proxy("chain", count, WirelessProxy.serve),
    "new-conn": lambda count: _proxy("istio", count, WirelessProxy.serve_each_apart),
    "sockets": lambda count: _wired("istio", count, close=False),
    "sockets-new": lambda count: _wired("istio", count, close=True),
    "h2-h2": lambda count: _http2("istio+h2up", count, grpc=False),
    "grpc": lambda count: _http2("istio+h2up", count, grpc=True),
    "http2-path": lambda count: _http2_path("http2", count),
    "grpc-path": lambda count: _http2_path("grpc", count),
    "streams-path": lambda count: _http2_path("streams", count),
    "hookless": lambda count: _hooks(count, 1),
    "plain-hooks": lambda count: _hooks(count, 2),
    "async-hooks": lambda count: _hooks(count, 3),
}
COUNTS = {"hookless": 10000, "plain-hooks": 10000, "async-hooks": 10000}


def start(name: str, count: int) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    command = (*_COUNTER, sys.executable, "-m", "bench.instructions", "--run", name, str(count))
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def finish(started: subprocess.Popen[str]) -> int:
    _, said = started.communicate()
    found = _TOTAL.findall(said)
    if started.returncode or not found:
        sys.exit(f"bench.instructions: {said[-2000:]}")
    return sum(map(int, found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(WORKLOADS))
    parser.add_argument("--run", nargs=2, metavar=("NAME", "COUNT"), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help="requests of the shorter of the two runs")
    options = parser.parse_args()
    if options.run:
        name, count = options.run
        uvloop.run(WORKLOADS[name](int(count)))
        return
    if shutil.which(_COUNTER[0]) is None:
        sys.exit("bench.instructions: valgrind isn't installed")
    for name in options.names or WORKLOADS:
        count = options.count or COUNTS.get(name, 4000)
        once, twice = [finish(one) for one in [start(name, count), start(name, 2 * count)]]
        print(f"{name:12} {(twice - once) / count:10,.0f} instructions per request", flush=True)


if __name__ == "__main__":
    main()
