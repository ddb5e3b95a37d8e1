"""The program's own log: events, never requests.

A line is made only when its component's level lets it through. Levels can be changed while the program runs, for all
components or for one (`--log-level`, `--component-log-level`, `/logging`). A logger whose name is none of Envoy's
components is a filter's and goes by the component `filter`.

Forms: coloured lines for people when the output is a terminal, logfmt when it isn't, JSON, or a pattern in the way of
Envoy's `--log-format`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TextIO

LEVELS = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50, "off": 100}
_ALIASES = {"warn": "warning", "err": "error"}

COMPONENTS = (
    "a2a", "admin", "ai_protocol_manager", "alternate_protocols_cache", "aws", "assert", "backtrace", "basic_auth",
    "cache_filter", "client", "config", "connection", "conn_handler", "compression", "credential_injector",
    "decompression", "dns", "dubbo", "envoy_bug", "ext_authz", "ext_proc", "rocketmq", "file", "filter",
    "forward_proxy", "geolocation", "grpc", "happy_eyeballs", "hc", "health_checker", "http", "http2", "hystrix",
    "init", "io", "jwt", "json_rpc", "kafka", "key_value_store", "lua", "local_rate_limit", "main", "matcher", "mcp",
    "misc", "mongo", "multi_connection", "notification", "oauth2", "quic", "quic_stream", "pool", "rate_limit_quota",
    "rbac", "rds", "redis", "router", "runtime", "stats", "secret", "sse", "tap", "testing", "thrift", "tracing",
    "upstream", "udp", "wasm", "websocket", "golang", "stats_sinks", "dynamic_modules", "ip_tagging",
)  # fmt: skip
"""The names of Envoy's loggers, in the order of `/logging`."""

Event = dict[str, Any]
Render = Callable[[Event], str]


def level_name(text: str) -> str:
    """The canonical name of a level. Raises ValueError."""
    name = _ALIASES.get(text.lower(), text.lower())
    if name not in LEVELS:
        raise ValueError(f"'{text}' is no log level; there are {', '.join(LEVELS)}")
    return name


class Levels:
    """The level of each component."""

    def __init__(self, level: str = "info") -> None:
        self.by_component: dict[str, str] = dict.fromkeys(COMPONENTS, level)

    def set_all(self, level: str) -> None:
        """Raises ValueError for what is no level."""
        self.by_component = dict.fromkeys(COMPONENTS, level_name(level))

    def set(self, component: str, level: str) -> None:
        """Raises KeyError for what is no component, ValueError for what is no level."""
        if component not in self.by_component:
            raise KeyError(component)
        self.by_component[component] = level_name(level)

    def set_many(self, text: str) -> None:
        """`upstream:debug,http:info`. Raises KeyError or ValueError, and changes nothing then."""
        pairs = []
        for part in text.split(","):
            component, _, level = part.partition(":")
            if component not in self.by_component:
                raise KeyError(component)
            pairs.append((component, level_name(level)))
        self.by_component.update(pairs)

    def threshold(self, component: str) -> int:
        """The number from which on a component's events are written."""
        return LEVELS[self.by_component.get(component) or self.by_component["filter"]]


class ProgramLog:
    """Where lines go. One for the process."""

    def __init__(self) -> None:
        self.levels = Levels()
        self._path = ""
        self._stream: TextIO = sys.stderr
        self._format = ""
        self._render: Render | None = None

    def configure(self, *, level: str, component_levels: str, line_format: str, path: str) -> None:
        """Set up from the command line. Raises ValueError or KeyError for levels, OSError for the file."""
        self.levels.set_all(level)
        if component_levels:
            self.levels.set_many(component_levels)
        self._format = line_format
        self._path = path
        self._render = None
        self.reopen()

    def reopen(self) -> None:
        """Open the log file anew, after it was moved away. Raises OSError."""
        if self._path:
            stream = open(self._path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115  # lives on
            if self._stream is not sys.stderr:
                self._stream.close()
            self._stream = stream

    def emit(self, event: Event) -> None:
        """Write one event."""
        if self._render is None:
            self._render = make_renderer(self._format, terminal=self._stream.isatty())
        try:
            self._stream.write(self._render(event) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads the log any more; that is no reason to stop

    def logger(self, name: str) -> ComponentLog:
        """The logger of a component, or of a filter."""
        return ComponentLog(self, name)


class ComponentLog:
    """One component's way to write events; has the shape of `plugin.context.Logger`."""

    __slots__ = ("_log", "_name")

    def __init__(self, log: ProgramLog, name: str) -> None:
        self._log = log
        self._name = name

    def _write(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        if LEVELS[level] >= self._log.levels.threshold(self._name):
            self._log.emit({"time": time.time(), "level": level, "logger": self._name, "event": event, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write("error", event, fields)

    def critical(self, event: str, **fields: Any) -> None:
        self._write("critical", event, fields)


def make_renderer(line_format: str, *, terminal: bool) -> Render:
    """The function that makes an event one line. line_format: "" by the kind of output, `json`, or a pattern."""
    if line_format == "json":
        return _json_line
    if line_format:
        return _pattern_renderer(line_format)
    return _console_renderer() if terminal and "NO_COLOR" not in os.environ else _logfmt_line


def _shown(event: Event) -> Event:
    """An event with its time as text and its exception as a traceback."""
    shown = {"timestamp": _timestamp(event["time"]), **event}
    del shown["time"]
    error = shown.pop("exc_info", None)
    if isinstance(error, BaseException):
        shown["exception"] = "".join(traceback.format_exception(error))
    return shown


def _json_line(event: Event) -> str:
    return json.dumps(_shown(event), default=str)


_PLAIN = re.compile(r"[^\s\"=\\]+\Z")


def _logfmt_line(event: Event) -> str:
    return " ".join([f"{name}={_logfmt_value(value)}" for name, value in _shown(event).items()])


def _logfmt_value(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() and _PLAIN.match(text) else json.dumps(text)


def _console_renderer() -> Render:
    # structlog costs a fifth of a second and 18 MiB: worth it where a person reads along, and only there.
    from structlog import dev

    renderer = dev.ConsoleRenderer()

    def render(event: Event) -> str:
        return str(renderer(None, "", _shown(event)))

    return render


def _timestamp(wall: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall))
    return f"{whole}.{int(wall % 1 * 1000):03d}Z"


_PATTERN = re.compile(r"%(.)", re.DOTALL)
_STRFTIME = frozenset("YmdHMSTFjyBbaAIp")


def _pattern_renderer(pattern: str) -> Render:
    """A subset of spdlog's patterns: date and time, %e, %f, %t, %P, %l, %L, %n, %v, %_, %j, %%; %g, %#, %s, %! (where
    in the source) are empty, and the marks of colour (%^, %$) are dropped."""

    def render(event: Event) -> str:
        wall = event["time"]
        local = time.localtime(wall)
        message = _message(event)

        def expand(match: re.Match[str]) -> str:
            letter = match[1]
            if letter in _STRFTIME:
                return time.strftime(f"%{letter}", local)
            known: dict[str, str] = {
                "e": f"{int(wall % 1 * 1000):03d}",
                "f": f"{int(wall % 1 * 1000000):06d}",
                "E": str(int(wall)),
                "t": str(os.getpid()),
                "P": str(os.getpid()),
                "l": event["level"],
                "L": event["level"][0].upper(),
                "n": event["logger"],
                "v": message,
                "_": message.replace("\n", "\\n"),
                "z": time.strftime("%z", local),
                "%": "%",
            }
            return known.get(letter, "")

        return str(_PATTERN.sub(expand, pattern))

    return render


def _message(event: Event) -> str:
    fields = [f"{name}={value}" for name, value in event.items() if name not in ("time", "level", "logger", "event")]
    return " ".join([event["event"], *fields])


PROGRAM_LOG = ProgramLog()
