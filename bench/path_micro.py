"""What the whole path of a request costs without sockets: fake transports on both sides of a real proxy.

    python -m bench.path_micro [istio | router | config.yaml] [--profile]
    python -m bench.path_micro --client {http2,grpc,streams} istio+h2up [--profile]

Prints microseconds per request; with --profile the functions by own time. On a machine that is busy with other things
`python -m bench.instructions` says more.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import statistics
import time
from pathlib import Path

import uvloop

from bench.wireless import WirelessProxy, scratch
from bench.wireless_http2 import WirelessGrpcProxy, WirelessHttp2Proxy
from bench.wireless_streams import WirelessStreamsProxy
from bench.yardstick import yardstick
from meshproxy.proxy import tune_collector

PROXIES = {
    "http1": WirelessProxy,
    "http2": WirelessHttp2Proxy,
    "grpc": WirelessGrpcProxy,
    "streams": WirelessStreamsProxy,
}


async def run(client: str, configuration: str, count: int, profile: bool, directory: Path) -> None:
    proxy = PROXIES[client](asyncio.get_running_loop(), configuration, directory)
    proxy.serve(proxy.batch(count))
    tune_collector()
    ratios = []
    best = 1e9
    for _ in range(12):
        batch = proxy.batch(count)
        before = yardstick()
        began = time.process_time()
        proxy.serve(batch)
        spent = (time.process_time() - began) / count * 1e6
        best = min(best, spent)
        ratios.append(spent / (before + yardstick()) * 2)
    print(f"{best:.2f} us per request; {statistics.median(ratios):.1f} yardsticks (median of {len(ratios)} rounds)")
    if profile:
        profiler = cProfile.Profile()
        profiler.runcall(proxy.serve, proxy.batch(count))
        pstats.Stats(profiler).sort_stats("tottime").print_stats(60)
    proxy.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configuration", nargs="?", default="istio")
    parser.add_argument("--client", choices=PROXIES, default="http1")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with scratch() as name:
        uvloop.run(run(options.client, options.configuration, options.count, options.profile, Path(name)))


if __name__ == "__main__":
    main()
