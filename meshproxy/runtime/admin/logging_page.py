"""`/logging`: show the level of every component, or change them."""

from __future__ import annotations

from collections.abc import Mapping

from meshproxy.runtime.process.program_log import Levels

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
        try:
            if name == "level":
                levels.set_all(value)
            elif name == "paths":
                levels.set_many(value)
            elif name == "group":
                return "error: group parameter requires fine-grain logging to be enabled"
            else:
                levels.set(name, value)
        except KeyError:
            return "error: unknown logger name"
        except ValueError:
            return "error: unknown logger level"
    return ""


def render(levels: Levels, error: str = "") -> str:
    """The page, an error first."""
    lines = [f"  {name}: {level}\n" for name, level in levels.by_component.items()]
    listing = "active loggers:\n" + "".join(lines) + "\n"
    return f"{error}\n\n{_USAGE}{listing}" if error else listing
