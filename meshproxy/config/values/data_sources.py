"""Values that a configuration holds itself, or finds in a file or the environment (envoy.config.core.v3.DataSource)."""

from __future__ import annotations

import os
from pathlib import Path

from meshproxy.config.values.context import CompileContext
from meshproxy.plugin.view import ConfigView

_NO_PLACES_OF_VALUES = ("/dev", "/sys", "/proc")
"""What lies there may block, never end or tell of the machine; Envoy reads nothing there either."""


def read_data_source(view: ConfigView, context: CompileContext, *, limit: int = 0) -> bytes:
    """The value, read now. limit: the most bytes that it may have, 0 for any number. Raises ConfigError."""
    if view.has("watched_directory"):
        view.fail("a watched directory isn't supported by meshproxy here", "watched_directory")
    kind = view.which("specifier")
    if kind == "filename":
        data = _read_file(view, view.text("filename"))
    elif kind == "inline_bytes":
        data = view.data("inline_bytes")
    elif kind == "environment_variable":
        name = view.text("environment_variable")
        value = context.environ.get(name)
        if value is None:
            view.fail(f"environment variable '{name}' isn't set", "environment_variable")
        data = value.encode("utf-8", "surrogateescape")
    else:
        data = view.text("inline_string").encode()
    if limit and len(data) > limit:
        view.fail(f"{len(data)} bytes are more than the {limit} allowed here")
    return data


def _read_file(view: ConfigView, path: str) -> bytes:
    if os.path.realpath(path).startswith(_NO_PLACES_OF_VALUES):
        view.fail(f"no values are read from '{path}'", "filename")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        view.fail(f"file '{path}' can't be read: {error.strerror}", "filename")
