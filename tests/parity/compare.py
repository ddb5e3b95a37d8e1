"""`python -m tests.parity.compare FILE...`: one's own configuration on Envoy and on meshproxy, and what differs.

Each file is a whole bootstrap in YAML or JSON with static listeners and clusters. It is changed so that it runs on
loopback (`own/adapt.py`), both programs are sent the requests that follow from its routes (`own/requests.py`), over
HTTP/1 and HTTP/2, and answers, what the hosts got, access logs and statistics are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import yaml

from . import suite
from .__main__ import report
from .own.comparison import MOST, case_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity.compare", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=MOST, help="requests per filter chain (default: %(default)s)")
    options = parser.parse_args()
    cases = []
    for number, path in enumerate(options.files):
        config = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        cases.append(case_of(f"{number}-{path.stem}", config, options.most))
    outcomes = asyncio.run(suite.compare(cases))
    return 1 if [outcome for outcome in outcomes.values() if report(outcome, quiet=False)] else 0


if __name__ == "__main__":
    sys.exit(main())
