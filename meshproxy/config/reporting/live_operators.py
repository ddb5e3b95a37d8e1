"""Operators of formats that tell what stands elsewhere, and may change: formatter extensions.

`%FILE_CONTENT(path)%` (envoy.extensions.formatter.file_content.v3) tells a file, `%SECRET(name)%`
(envoy.extensions.formatter.generic_secret.v3) a generic secret. Both are looked at again when they are told, at most
twice a second, as all secrets in files are; what can't be read any more stays as it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from meshproxy.config.tls.generic_secrets import NamedSecret, compile_named_secret
from meshproxy.config.tls.seen_files import SeenFiles
from meshproxy.config.values.context import CompileContext, FormatExtensionCompiler
from meshproxy.model.listener import MakeOperator
from meshproxy.plugin.view import ConfigView

_INTERVAL = 0.5


class FileContent:
    """What a file has in it, as Latin-1 text."""

    def __init__(self, path: str, now: Callable[[], float]) -> None:
        """Raises ValueError for a file that can't be read."""
        self._path = path
        self._now = now
        self._text = ""
        try:
            self._read()
        except OSError:
            raise ValueError(f"Invalid path: {path}") from None

    def _read(self) -> None:
        self._look_at = self._now() + _INTERVAL
        self._seen = SeenFiles()
        self._seen.note(self._path)
        self._text = Path(self._path).read_bytes().decode("latin-1")

    def __call__(self) -> str:
        if self._now() >= self._look_at:
            self._look_at = self._now() + _INTERVAL
            if self._seen.changed():
                try:
                    self._read()
                except OSError:
                    pass  # it may be on its way to be replaced
        return self._text


def _compile_file_content(view: ConfigView, context: CompileContext) -> tuple[str, MakeOperator]:
    return "FILE_CONTENT", partial(_file_content, context)


def _file_content(context: CompileContext, parameter: str) -> FileContent:
    """The path, and perhaps a directory to watch, which is of no use here."""
    path, _, directory = parameter.partition(":")
    if not path or ":" in directory:
        raise ValueError(f"FILE_CONTENT: expected format 'path' or 'path:watch_directory', got '{parameter}'")
    if directory and not os.path.isdir(directory):
        raise ValueError(f"unable to add filesystem watch for file {directory}/: No such file or directory")
    return FileContent(path, context.clock.now)


def _compile_secrets(view: ConfigView, context: CompileContext) -> tuple[str, MakeOperator]:
    log = context.make_logger("formatter")
    secrets = {}
    for name, config in view.view_map("secret_configs").items():
        secrets[name] = secret = compile_named_secret(config, context, log)
        if secret.awaited:
            config.fail("a secret of a management server isn't supported by meshproxy in a format")
    return "SECRET", partial(_secret, secrets)


def _secret(secrets: dict[str, NamedSecret], parameter: str) -> Callable[[], str | None]:
    secret = secrets.get(parameter)
    if secret is None:
        raise ValueError(f"envoy.formatter.generic_secret: secret '{parameter}' is not configured in secret_configs")
    return lambda: secret.value.decode("latin-1") or None


LIVE_OPERATORS: Mapping[str, FormatExtensionCompiler] = {
    "envoy.extensions.formatter.file_content.v3.FileContent": _compile_file_content,
    "envoy.extensions.formatter.generic_secret.v3.GenericSecret": _compile_secrets,
}
"""By the type of the extension's configuration, for `CompileContext.format_extensions`."""
