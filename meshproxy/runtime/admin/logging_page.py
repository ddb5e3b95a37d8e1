"""`/logging`: show the level of every component, or change them."""

from __future__ import annotations

from collections.abc import Mapping

from meshproxy.runtime.process.program_log import LEVELS, Levels

_USAGE = (
    "usage: /logging?<name>=<level> (change single level)\n"
    "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n"
    "usage: /logging?level=<level> (change all levels)\n"
    "usage: /logging?group=<group_name>:<level> (change group of loggers)\n"
    "levels: trace debug info warning error critical off \n"
)


def change_levels(levels: Levels, parameters: Mapping[str, str]) -> str:
    """Do what the parameters say. Returns "" or, when they make no sense, what is wrong with them (Envoy's words)."""
    wanted = {name: value for name, value in parameters.items() if value}
    if len(wanted) > 1:
        return "error: invalid number of parameters"
    for name, value in wanted.items():
        if name == "group":
            return "error: group parameter requires fine-grain logging to be enabled"
        pairs = [_pair(part) for part in value.split(",") if part] if name == "paths" else [(name, value)]
        if not all(each and level for each, level in pairs):
            return "error: empty logger name or empty logger level"
        if any(level not in LEVELS for _, level in pairs):
            return "error: unknown logger level"
        if name == "level":
            levels.set_all(value)
            return ""
        if any(each not in levels.by_component for each, _ in pairs):
            return "error: unknown logger name"
        levels.by_component.update(pairs)
    return ""


def _pair(text: str) -> tuple[str, str]:
    name, _, level = text.partition(":")
    return name, level


def render(levels: Levels, error: str = "") -> str:
    """The page, an error first."""
    lines = [f"  {name}: {level}\n" for name, level in levels.by_component.items()]
    listing = "active loggers:\n" + "".join(lines) + "\n"
    return f"{error}\n\n{_USAGE}{listing}" if error else listing
