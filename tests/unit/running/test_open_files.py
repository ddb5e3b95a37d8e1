"""The limit of open files."""

from __future__ import annotations

import resource

from meshproxy.runtime.process.open_files import raise_limit


def test_the_soft_limit_is_brought_up_to_the_hard_one() -> None:
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most // 2, most))
    try:
        raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
