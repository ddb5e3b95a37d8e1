"""What each part of the proxy may be given: a log, timers, and what the operator has told the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    pass


class Logger(Protocol):
    """The program's own log, for events; never for each request. Keywords become fields of the line."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...


class Timer(Protocol):
    """Something that will happen, unless it is cancelled."""

    def cancel(self) -> None: ...


class ServerState(Protocol):
    """What the operator has told the process: `/healthcheck/fail` is in force; it is draining."""

    @property
    def health_failed(self) -> bool: ...
    @property
    def draining(self) -> bool: ...
