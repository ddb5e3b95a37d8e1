"""What the whole path of a request costs without sockets: fake transports on both sides of a real proxy.

    python -m bench.path_micro [istio | router | config.yaml] [--profile]

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

from bench.wireless import WirelessProxy, requests, scratch
from bench.yardstick import yardstick
from meshproxy.proxy import tune_collector


async def run(configuration: str, count: int, profile: bool, directory: Path) -> None:
    proxy = WirelessProxy(asyncio.get_running_loop(), configuration, directory)
    batch = requests(count)
    proxy.serve(batch)
    tune_collector()
    ratios = []
    best = 1e9
    for _ in range(12):
        before = yardstick()
        began = time.process_time()
        proxy.serve(batch)
        spent = (time.process_time() - began) / count * 1e6
        best = min(best, spent)
        ratios.append(spent / (before + yardstick()) * 2)
    print(f"{best:.2f} us per request; {statistics.median(ratios):.1f} yardsticks (median of {len(ratios)} rounds)")
    if profile:
        profiler = cProfile.Profile()
        profiler.runcall(proxy.serve, batch)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(60)
    proxy.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configuration", nargs="?", default="istio")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with scratch() as name:
        uvloop.run(run(options.configuration, options.count, options.profile, Path(name)))


if __name__ == "__main__":
    main()
