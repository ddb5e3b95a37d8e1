"""The files of access logs: what is gathered, what is written when, and what goes wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from meshproxy.model.listener import AccessLog
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.runtime.reporting.access_log_files import AccessLogFiles
from meshproxy.telemetry.stats import StatsStore


class Timers:
    """A loop of which only timers are asked for."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.calls.append(callback)


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def store() -> StatsStore:
    return StatsStore()


@pytest.fixture
def files(timers: Timers, store: StatsStore) -> AccessLogFiles:
    return AccessLogFiles(timers, store.scope(""), interval=10.0, size=100)  # type: ignore[arg-type]  # the one method that it calls


def counted(store: StatsStore, name: str) -> int:
    return store.scope("").counter(name).value


def test_lines_wait_for_the_timer(files: AccessLogFiles, timers: Timers, tmp_path: Path) -> None:
    path = tmp_path / "log"
    files.write(str(path), "a\n")
    files.write(str(path), "\xe9\n")
    assert not path.exists()
    assert len(timers.calls) == 1
    timers.calls[0]()
    assert path.read_bytes() == b"a\n\xe9\n"


def test_much_is_written_at_once(files: AccessLogFiles, tmp_path: Path) -> None:
    path = tmp_path / "log"
    files.write(str(path), "x" * 99)
    assert not path.exists()
    files.write(str(path), "y")
    assert path.read_text() == "x" * 99 + "y"


def test_reopening_writes_to_the_old_file_first(files: AccessLogFiles, tmp_path: Path) -> None:
    path, moved = tmp_path / "log", tmp_path / "log.1"
    files.write(str(path), "old\n")
    files.flush()
    files.write(str(path), "still old\n")
    path.rename(moved)
    files.reopen()
    files.write(str(path), "new\n")
    files.close()
    assert (moved.read_text(), path.read_text()) == ("old\nstill old\n", "new\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_loses_lines_and_counts_it(files: AccessLogFiles, store: StatsStore) -> None:
    files.write("/dev/full", "lost\n")
    files.flush()
    assert counted(store, "filesystem.write_failed") == 1


def test_a_fact_that_can_not_be_told_costs_its_line_only(
    files: AccessLogFiles, store: StatsStore, tmp_path: Path
) -> None:
    path = str(tmp_path / "log")

    def broken(info: StreamInfo) -> str:
        raise ZeroDivisionError

    files.log([AccessLog(path, broken), AccessLog(path, lambda info: "told\n")], StreamInfo())
    files.flush()
    assert (tmp_path / "log").read_text() == "told\n"
    assert counted(store, "access_logs.failed") == 1
