"""Errors, by who is to blame: the configuration, the peer, or we ourselves.

`ProtocolError` and its cause come from what a peer sent, and untrusted bytes raise nothing else. `ConfigError`
carries every problem found, each with its place, because whoever mends a file wants all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a configuration.

    path: the field, such as `listeners[0].filter_chains[0].filters[0]`; "" for the whole.
    source, line, column: the file and the place in it, counted from 1; 0 when unknown.
    """

    path: str
    message: str
    source: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}:{self.column}: " if self.line else f"{self.source}: " if self.source else ""
        return f"{place}{self.path}: {self.message}" if self.path else f"{place}{self.message}"


class ConfigError(Exception):
    """A configuration that can't be used, with all its problems."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ProtocolError(Exception):
    """The peer broke its protocol.

    status: the HTTP status Envoy answers to it (400, 426, 431, 501; 502 for an upstream).
    details: Envoy's name of the fault (`%RESPONSE_CODE_DETAILS%`), such as `http1.codec_error`.
    request: the request's head (`RequestHeaders`), where as much of it was understood; for the access log. Else None.
    """

    def __init__(self, status: int, details: str, message: str = "") -> None:
        super().__init__(message or details)
        self.status = status
        self.details = details
        self.request: Any = None
