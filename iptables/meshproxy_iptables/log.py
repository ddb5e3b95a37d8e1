"""What the command says while it works: lines on standard error, because standard output belongs to --dry-run.

Istio's injector passes `--log_output_level` and `--log_as_json` to its init container (Istio's `pkg/log`), so both are
understood: the level of the default scope decides, scopes of other components do not exist here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from .errors import OptionsError

Say = Callable[[str], None]
"""Takes one line for whoever watches the run."""

LEVELS = ("none", "fatal", "error", "warn", "info", "debug")


class Log:
    """Writes lines. A line says its level by its beginning: `error: `, `warning: `, else it informs."""

    def __init__(self, level: str = "info", as_json: bool = False) -> None:
        self._level = LEVELS.index(level)
        self._as_json = as_json

    def __call__(self, line: str) -> None:
        level = "error" if line.startswith("error: ") else "warn" if line.startswith("warning: ") else "info"
        if LEVELS.index(level) > self._level:
            return
        if self._as_json:
            import json  # most runs write plain lines

            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            sys.stderr.write(json.dumps({"level": level, "time": stamp, "msg": line}) + "\n")
        else:
            sys.stderr.write(f"meshproxy-iptables: {line}\n")


def parse_level(text: str, source: str) -> str:
    """The level of the default scope in `info` or `default:info,other:debug`. Raises OptionsError."""
    found = "info"
    for part in text.split(","):
        scope, colon, level = part.rpartition(":")
        if level not in LEVELS:
            raise OptionsError(source, f"{level!r} is none of {', '.join(LEVELS)}")
        if not colon or scope in ("default", "all"):
            found = level
    return found
