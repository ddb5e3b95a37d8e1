"""What the whole path of a request costs without sockets: fake transports on both sides of a real proxy.

    python bench/path_micro.py [config.yaml] [--profile]

The request varies in three lines each time. Prints microseconds per request; with --profile the functions by own time.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import statistics
import time
from pathlib import Path
from typing import Any

import uvloop

from meshproxy.config.bootstrap_load import read_source
from meshproxy.plugin.listener import Socket
from meshproxy.proxy import Proxy, load_configuration, make_logger, tune_collector
from meshproxy.runtime.auto_sni import NO_NAME
from meshproxy.runtime.connection import ServerConnection
from meshproxy.runtime.http1_pool import Http1Pool
from meshproxy.runtime.http1_upstream import Http1Upstream
from meshproxy.runtime.lifecycle import Lifecycle
from meshproxy.runtime.options import Options

ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 33\r\nConnection: keep-alive\r\n\r\n" + b"x" * 33
)


class FakeTransport:
    """Takes what is written; the upstream's answers at once when asked to."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 40000) if name == "sockname" else default

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass

    abort = close


def yardstick() -> float:
    """Microseconds that a fixed piece of interpreter work takes now, to compare figures of different hours."""
    table = {str(i): i for i in range(20)}
    keys = list(table)
    began = time.process_time()
    total = 0
    for _ in range(4000):
        for key in keys:
            total += table[key]
    return (time.process_time() - began) / 4000 * 1e6


def requests(count: int) -> list[bytes]:
    return [
        (
            f"GET /catalogue/{i % 200}?id={i} HTTP/1.1\r\nHost: shop.default\r\nUser-Agent: bench/1.0\r\n"
            "Accept: */*\r\n"
            f"Cookie: session={i:032x}\r\nAuthorization: Bearer abcdefghijklmnopqrstuvwxyz0123456789\r\n"
            f"traceparent: 00-{i:032x}-{i:016x}-01\r\nX-B3-Sampled: 1\r\nAccept-Encoding: gzip, deflate\r\n"
            "Accept-Language: en\r\n\r\n"
        ).encode()
        for i in range(count)
    ]


async def run(path: Path, count: int, profile: bool) -> None:
    loop = asyncio.get_running_loop()
    lifecycle = Lifecycle(loop, make_logger("main"))
    proxy = Proxy(loop, load_configuration([read_source(path)]), Options(), lifecycle)
    proxy.start({})
    listener = proxy.listeners.active[0]
    facts = Socket(("127.0.0.1", 1), ("127.0.0.1", 2), ("127.0.0.1", 1), ("127.0.0.1", 2))
    chain = listener._matcher.find(facts)
    assert chain is not None
    connection = ServerConnection(
        proxy.worker, listener.config, chain.makers, facts, listener._connection_info(facts), lambda c: None
    )
    upstreams: list[Http1Upstream] = []
    for cluster in proxy.worker.clusters:
        for host in cluster.hosts():
            pool = cluster._pools[host, "DEFAULT", NO_NAME] = Http1Pool(cluster, host, "DEFAULT")
            pool.limits.connections.acquire()
            upstream = Http1Upstream(pool)
            upstream.connection_made(FakeTransport())
            upstreams.append(upstream)
    connection.connection_made(FakeTransport())
    batch = requests(count)
    receive = connection.data_received

    def turn() -> None:
        for request in batch:
            receive(request)
            for upstream in upstreams:
                if upstream._sink is not None:
                    upstream.data_received(ANSWER)
                    break

    turn()
    tune_collector()
    ratios = []
    best = 1e9
    for _ in range(12):
        before = yardstick()
        began = time.process_time()
        turn()
        spent = (time.process_time() - began) / count * 1e6
        best = min(best, spent)
        ratios.append(spent / (before + yardstick()) * 2)
    print(f"{best:.2f} us per request; {statistics.median(ratios):.1f} yardsticks (median of {len(ratios)} rounds)")
    if profile:
        profiler = cProfile.Profile()
        profiler.runcall(turn)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    proxy.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    uvloop.run(run(options.config, options.count, options.profile))


if __name__ == "__main__":
    main()
