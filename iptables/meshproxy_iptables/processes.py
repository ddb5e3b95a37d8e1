"""Running the kernel's tools."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from .errors import BackendError

TIMEOUT = 60.0
"""Seconds; longer than the tools wait for their lock."""


def installed(tool: str) -> bool:
    """Whether a tool is in the PATH. (`shutil.which` does the same, and its import costs what a fork costs.)"""
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return any(os.access(os.path.join(place, tool), os.X_OK) for place in places)


def read_file(path: str) -> str:
    """A small file as text, "" if it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def run(argv: Sequence[str], text: str = "", environ: dict[str, str] | None = None) -> str:
    """Runs a tool with `text` as its input and returns what it printed.

    Raises BackendError with the tool's own words if it is missing, fails, or takes longer than TIMEOUT.
    """
    try:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            env={**os.environ, **environ} if environ else None,
            check=False,
        )
    except FileNotFoundError:
        raise BackendError(f"{argv[0]} is not installed") from None
    except OSError as error:
        raise BackendError(f"{argv[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise BackendError(f"{' '.join(argv)} did not end within {TIMEOUT:.0f} s") from None
    if done.returncode:
        words = " ".join(done.stderr.split()) or "no message"
        raise BackendError(f"{' '.join(argv)} failed ({done.returncode}): {words}")
    return done.stdout
