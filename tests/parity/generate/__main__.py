"""`python -m tests.parity.generate --seed 7 --count 20`: which of so many made configurations differ, and in what."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from .. import suite
from ..__main__ import report
from .comparison import generated


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity.generate", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--most", type=int, default=25, help="requests per filter chain (default: %(default)s)")
    parser.add_argument("--show", type=Path, help="write the configurations into this folder")
    options = parser.parse_args()
    cases = [generated(seed, options.most) for seed in range(options.seed, options.seed + options.count)]
    if options.show:
        for case in cases:
            (options.show / f"{case.name}.json").write_text(case.config)
    outcomes = asyncio.run(suite.compare(cases))
    return 1 if [outcome for outcome in outcomes.values() if report(outcome, quiet=False)] else 0


if __name__ == "__main__":
    sys.exit(main())
