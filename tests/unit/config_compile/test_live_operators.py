"""Operators that formatter extensions add, as far as Envoy can't show them beside ours (`tests/parity`)."""

from pathlib import Path

import pytest

from meshproxy.config.reporting.live_operators import FileContent


class _Clock:
    time = 100.0

    def now(self) -> float:
        return self.time


def test_a_file_is_read_again_once_it_has_changed(tmp_path: Path) -> None:
    file, clock = tmp_path / "name", _Clock()
    file.write_bytes(b"one\xff")
    content = FileContent(str(file), clock.now)
    assert content() == "one\xff"

    file.write_text("another")
    assert content() == "one\xff"  # it was looked at just now
    clock.time += 1
    assert content() == "another"

    file.unlink()
    clock.time += 1
    assert content() == "another"  # it may be on its way to be replaced

    file.write_text("the next")
    clock.time += 1
    assert content() == "the next"


def test_a_file_must_be_there_at_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Invalid path: "):
        FileContent(str(tmp_path / "none"), _Clock().now)
