"""Secrets that filters are configured with by name (envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig).

Theory. A `NamedSecret` is what a filter holds: it gives the bytes that are in force. They come from one of three
places: a static secret, a resource in a file, or a resource of a management server. The latter is provided from
outside, by the same hands that provide transport sockets (`awaited`, `provide`). Files a `NamedSecret` reads itself,
and looks at again when it is asked, at most twice a second: it can be in a filter that is itself discovered, for which
nobody provides secrets. A file that can't be read any more, or isn't right, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from meshproxy.config.tls.seen_files import SeenFiles
from meshproxy.config.tls.tls_secrets import compile_reference, load_secrets
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError
from meshproxy.model.tls import GenericSecret, SecretReference
from meshproxy.plugin.context import Logger
from meshproxy.plugin.view import ConfigView

_INTERVAL = 0.5


class NamedSecret:
    """One of them. awaited: the reference of one that somebody has to `provide`."""

    def __init__(
        self,
        found: GenericSecret | SecretReference,
        environ: Mapping[str, str],
        now: Callable[[], float],
        log: Logger,
    ) -> None:
        """Raises OSError or ConfigError for files that can't be read."""
        self._found = found
        self._environ = environ
        self._now = now
        self._log = log
        self._provided: GenericSecret | None = None
        self._files = SeenFiles()
        self._look_at = 0.0
        self._value = b""
        self._load()

    @property
    def value(self) -> bytes:
        """See `LiveSecret`."""
        if self._files and self._now() >= self._look_at:
            self._look()
        return self._value

    @property
    def awaited(self) -> list[SecretReference]:
        found = self._found
        return [found] if isinstance(found, SecretReference) and found.source.kind != "path" else []

    def provide(self, reference: SecretReference, secret: object) -> str:
        """The secret has come, or another one. Returns what is wrong with it, and then nothing has changed; else ""."""
        if not isinstance(secret, GenericSecret):
            return "it isn't a generic secret"
        before, self._provided = self._provided, secret
        try:
            self._load()
        except OSError as error:
            self._provided = before
            return str(error)
        return ""

    def _load(self) -> None:
        self._look_at = self._now() + _INTERVAL
        # In force from the start: a fault that a file has now is mended when the file changes.
        self._files = files = SeenFiles()
        found: object = self._found
        if isinstance(found, SecretReference):
            if found.source.kind == "path":
                files.note(found.source.path)
                found = load_secrets(found.source.path, self._environ).get(found.name)
            else:
                found = self._provided
        if isinstance(found, GenericSecret):
            filename = found.source.filename
            if filename:
                files.note(filename)
            self._value = Path(filename).read_bytes() if filename else found.source.data

    def _look(self) -> None:
        self._look_at = self._now() + _INTERVAL
        if not self._files.changed():
            return
        try:
            self._load()
        except (OSError, ConfigError) as error:
            self._log.warning("a changed secret can't be used; the former one stays", error=str(error))


def compile_named_secret(view: ConfigView, context: CompileContext, log: Logger) -> NamedSecret:
    """`SdsSecretConfig` of a generic secret. Raises ConfigError."""
    found = compile_reference(view, context, GenericSecret)
    try:
        return NamedSecret(found, context.environ, context.clock.now, log)
    except OSError as error:
        view.fail(str(error))
