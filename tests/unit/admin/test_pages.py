"""The smaller pages: help, home, logging, runtime, parameters."""

import re

import pytest

from meshproxy.runtime.admin import commands
from meshproxy.runtime.admin.commands import COMMANDS, Command, Parameter, render_help, render_home
from meshproxy.runtime.admin.logging_page import change_levels, render
from meshproxy.runtime.admin.message import parse_parameters
from meshproxy.runtime.admin.pages import name_filter
from meshproxy.runtime.process.program_log import Levels


def test_help_is_envoys() -> None:
    lines = render_help().splitlines()
    assert lines[0] == "admin commands are:"
    assert "  /drain_listeners (POST): drain listeners" in lines
    assert "      format: File format to use; One of (text, json)" in lines
    assert [command.path for command in COMMANDS] == sorted(command.path for command in COMMANDS)


def test_home_posts_what_changes_something_and_loads_nothing_from_elsewhere() -> None:
    page = render_home()
    methods = dict(re.findall(r"action='([^']+)' method='([^']+)'", page))
    assert methods["quitquitquit"] == "post"
    assert methods["stats"] == "get"
    assert len(methods) == len(COMMANDS) - 1
    assert "http:" not in page
    assert "https:" not in page


def test_home_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = Command("/<b>'x", "<script>", parameters=(Parameter("'>", "<i>", ("<u>",)),))
    monkeypatch.setattr(commands, "COMMANDS", (odd,))
    page = render_home()
    for text in ("<b>", "<script>alert", "<i>", "<u>", "name=''>'"):
        assert text not in page


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", {}),
        ("a", {"a": ""}),
        ("a=1&b=%3d&a=2", {"a": "1", "b": "="}),
        ("filter=a%2Bb+c", {"filter": "a+b+c"}),
        ("&&x=&", {"x": ""}),
    ],
)
def test_parameters(query: str, parameters: dict[str, str]) -> None:
    assert parse_parameters(query) == parameters


@pytest.mark.parametrize(
    ("parameters", "changed"),
    [
        ({"level": "debug"}, {"http": "debug", "main": "debug"}),
        ({"http": "warning"}, {"http": "warning", "main": "info"}),
        ({"paths": "http:trace,main:off"}, {"http": "trace", "main": "off"}),
        ({"x": ""}, {"http": "info"}),
        ({"paths": ","}, {"http": "info"}),
    ],
)
def test_levels_are_changed(parameters: dict[str, str], changed: dict[str, str]) -> None:
    levels = Levels()
    assert change_levels(levels, parameters) == ""
    assert {name: levels.by_component[name] for name in changed} == changed


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"level": "loud"}, "error: unknown logger level"),
        ({"level": "warn"}, "error: unknown logger level"),
        ({"level": "DEBUG"}, "error: unknown logger level"),
        ({"paths": "http"}, "error: empty logger name or empty logger level"),
        ({"paths": "http:debug,:info"}, "error: empty logger name or empty logger level"),
        ({"paths": "nobody:loud"}, "error: unknown logger level"),
        ({"nobody": "debug"}, "error: unknown logger name"),
        ({"paths": "http:debug,nobody:debug"}, "error: unknown logger name"),
        ({"paths": "http:debug,main:loud"}, "error: unknown logger level"),
        ({"level": "debug", "http": "debug"}, "error: invalid number of parameters"),
    ],
)
def test_a_bad_change_changes_nothing(parameters: dict[str, str], error: str) -> None:
    levels = Levels()
    assert change_levels(levels, parameters) == error
    assert set(levels.by_component.values()) == {"info"}
    assert render(levels, error).startswith(f"{error}\n\nusage: /logging?<name>=<level>")


def test_a_filters_logger_goes_by_the_component_filter() -> None:
    levels = Levels()
    levels.set("filter", "error")
    assert levels.threshold("my-token-gate") == levels.threshold("filter") > levels.threshold("main")


def test_name_filters_are_re2() -> None:
    assert name_filter("^up.$")("up1")
    assert not name_filter("^up.$")("xup1")
    with pytest.raises(ValueError):
        name_filter("(?=x)")
