"""The forms of the program's log."""

import json
import os

import pytest

from meshproxy.runtime.process.program_log import make_renderer

EVENT = {"time": 1_700_000_000.1234, "level": "info", "logger": "main", "event": "it is\nso", "port": 80, "name": "a=b"}


def test_logfmt_has_one_line_whatever_is_in_it() -> None:
    assert make_renderer("", terminal=False)(EVENT) == (
        'timestamp=2023-11-14T22:13:20.123Z level=info logger=main event="it is\\nso" port=80 name="a=b"'
    )


def test_json() -> None:
    shown = json.loads(
        make_renderer("json", terminal=True)({**EVENT, "error": ValueError("x"), "exc_info": OSError(2)})
    )
    assert shown["event"] == "it is\nso"
    assert shown["error"] == "x"
    assert shown["exception"] == "OSError: 2\n"


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("[%l][%n] %v", "[info][main] it is\nso port=80 name=a=b"),
        ("%L %_", "I it is\\nso port=80 name=a=b"),
        ("%e %f %E %%", "123 123399 1700000000 %"),
        ("%t[%g:%#]%^x%$", "{pid}[:]x"),
    ],
)
def test_patterns(pattern: str, line: str) -> None:
    assert make_renderer(pattern, terminal=False)(EVENT) == line.replace("{pid}", str(os.getpid()))


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in make_renderer("", terminal=True)(EVENT)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in make_renderer("", terminal=True)(EVENT)
