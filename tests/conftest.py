"""Whatever runs the tests: property tests try the same examples each time, and none fails for being slow.

A run must say something of the change that it tests. `--hypothesis-profile=default` looks for new examples instead.

A shell starts what it puts in the background with SIGINT ignored, and the programs that tests start would inherit it.
"""

from __future__ import annotations

import gc
import signal
from typing import Any

import pytest
from hypothesis import settings

import meshproxy  # before whatever imports the API by itself  # noqa: F401

settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


TOGETHER = ("tests/conformance/test_http1.py", "tests/examples/", "tests/image/")
"""Files and folders whose tests share what takes long to make: of several processes one gets them all."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Shares tests out among processes one by one, but for those that stay together; these first, for they are long."""
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((place for place in TOGETHER if nodeid.startswith(place)), nodeid)

    return Sharing(config, log)


def pytest_collection_finish() -> None:
    """What collecting made stays to the end: the collector need not go through it for every test."""
    gc.collect()
    gc.freeze()
