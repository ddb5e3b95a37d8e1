"""The runtime of the process that owns the configuration: its layers read, changed, and laid one on the other.

Static layers never change. A disk layer is read again when its link is moved, the admin layer changes through
`/runtime_modify`, an RTDS layer when a management server says so. Whatever changes, all values are put together anew,
and everyone who follows them is told: in this process, and through `tell` in the workers.

A layer of a disk that can't be read is left out until it can (`runtime.load_error`); one whose directory isn't there
has nothing to say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meshproxy.config.bootstrap.runtime_layers import without_comments, yaml_entry
from meshproxy.errors import ConfigError
from meshproxy.model.runtime_layer import RuntimeEntry, RuntimeLayer, values_of
from meshproxy.plugin.context import Logger
from meshproxy.plugin.stats import StatNames, StatsScope
from meshproxy.runtime_values import RuntimeValues

Entries = dict[str, RuntimeEntry]

_STATISTICS = StatNames(
    counters=(
        *("deprecated_feature_use", "load_error", "load_success"),
        *("override_dir_exists", "override_dir_not_exists"),
    ),
    gauges=("admin_overrides_active", "deprecated_feature_seen_since_process_start", "num_keys", "num_layers"),
)
_MOST_LEVELS = 16
_MOST_BYTES = 1 << 20
"""Of one file; a value is a word or two."""


class LayeredRuntime:
    """See the module. tell: called with all values when they have changed."""

    def __init__(
        self,
        layers: Sequence[RuntimeLayer],
        values: RuntimeValues,
        stats: StatsScope,
        log: Logger,
        tell: Callable[[dict[str, Any]], object] = lambda values: None,
    ) -> None:
        self._layers = layers
        self._values = values
        self._stats = stats
        self._log = log
        self.tell = tell
        self._admin: Entries = {}
        self._discovered: dict[str, Mapping[str, RuntimeEntry]] = {}
        self._loaded: list[tuple[str, Mapping[str, RuntimeEntry]]] = []
        stats.declare(_STATISTICS)
        self.load()
        stats.counter("load_success").inc()  # Envoy loads twice before it serves: once by itself, once for its flags
        stats.counter("override_dir_not_exists").inc()

    @property
    def layers(self) -> Sequence[RuntimeLayer]:
        """As they are configured."""
        return self._layers

    @property
    def loaded(self) -> Sequence[tuple[str, Mapping[str, RuntimeEntry]]]:
        """The layers in force, with their names."""
        return self._loaded

    def use(self, layers: Sequence[RuntimeLayer]) -> None:
        """Let these take the place of the layers before."""
        self._layers = layers
        self.load()

    def load(self) -> None:
        """Put all layers together, disks read anew."""
        loaded: list[tuple[str, Mapping[str, RuntimeEntry]]] = []
        directories = errors = 0
        for layer in self._layers:
            if layer.kind == "disk":
                if not os.path.isdir(layer.directory):
                    continue
                try:
                    loaded.append((layer.name, read_directory(layer.directory)))
                    directories += 1
                except (OSError, ValueError, ConfigError) as error:
                    errors += 1
                    self._log.warning("a layer of the runtime can't be read", layer=layer.name, error=str(error))
            elif layer.kind == "admin":
                loaded.append((layer.name, dict(self._admin)))
            elif layer.kind == "rtds":
                loaded.append((layer.name, self._discovered.get(layer.name, {})))
            else:
                loaded.append((layer.name, layer.entries))
        self._loaded = loaded
        values = values_of([entries for _, entries in loaded])
        self._count(directories, errors, len(values))
        if values != dict(self._values):
            self._values.replace(values)
            self.tell(values)

    def _count(self, directories: int, errors: int, keys: int) -> None:
        stats = self._stats
        stats.counter("load_error" if errors else "load_success").inc()
        # One directory alone overrides nothing, to Envoy.
        stats.counter("override_dir_exists" if directories > 1 else "override_dir_not_exists").inc()
        stats.gauge("num_layers").set(len(self._loaded))
        stats.gauge("num_keys").set(keys)
        stats.gauge("admin_overrides_active").set(int(bool(self._admin)))

    @property
    def has_admin_layer(self) -> bool:
        """Whether `modify` is allowed."""
        return any(layer.kind == "admin" for layer in self._layers)

    def modify(self, texts: Mapping[str, str]) -> None:
        """Set values of the admin layer; "" takes one away. Raises ConfigError, and then nothing has changed."""
        entries = {key: yaml_entry(text) if text else None for key, text in texts.items()}
        for key, entry in entries.items():
            if entry is None:
                self._admin.pop(key, None)
            else:
                self._admin[key] = entry
        self.load()

    def discovered(self, name: str, entries: Mapping[str, RuntimeEntry]) -> None:
        """What an RTDS layer says from now on. name: of the layer."""
        self._discovered[name] = entries
        self.load()


def read_directory(path: str) -> Entries:
    """A directory as a layer: each file a value, its path with dots the key.

    Raises OSError; ConfigError for what is no YAML; ValueError for more levels than may be, or a file that is no text.
    """
    entries: Entries = {}
    _walk(path, "", 1, entries)
    return entries


def _walk(path: str, prefix: str, level: int, entries: Entries) -> None:
    if level > _MOST_LEVELS:
        raise ValueError(f"Walk recursion depth exceeded {_MOST_LEVELS}")
    with os.scandir(path) as found:
        for each in found:
            key = f"{prefix}{each.name}"
            if each.is_dir():
                _walk(each.path, f"{key}.", level + 1, entries)
            elif each.is_file():
                with open(each.path, encoding="utf-8") as file:
                    text = file.read(_MOST_BYTES)
                entries[key] = yaml_entry(without_comments(text))
