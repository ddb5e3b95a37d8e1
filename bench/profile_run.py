"""meshproxy under cProfile: `MESHPROXY_PROFILE=out.pstats python bench/profile_run.py -c envoy.yaml`.

Sees the main thread of one process. Every Python call is made dearer and none in C is, so it shows where to look, not
how long something takes.
"""

from __future__ import annotations

import cProfile
import os
import sys
from pathlib import Path


def run() -> object:
    """`main`, and whatever way it ends, its profile."""
    from meshproxy.cli import main

    path = os.environ["MESHPROXY_PROFILE"]
    profiler = cProfile.Profile()
    try:
        return profiler.runcall(main)
    finally:
        profiler.dump_stats(path)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # the benchmark's own modules aren't to be importable by their names
    sys.exit(run())  # type: ignore[arg-type]  # what main returns is its own affair
