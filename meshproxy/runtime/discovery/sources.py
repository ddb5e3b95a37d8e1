"""The two sides of discovery: who fetches resources (a `Source`), and who uses them (a `Sink`).

Each thing that is discovered is one subscription with its own names: all listeners, all clusters, the endpoints of one
cluster, one route table. That several of them travel on one stream, or stand in one file, is the source's business.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, Protocol

from meshproxy.clock import Clock
from meshproxy.model.discovery import ConfigSource, Resource
from meshproxy.plugin.context import Logger
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass
from meshproxy.runtime.discovery.pace import Pace
from meshproxy.runtime.discovery.unknown_fields import UnknownFields
from meshproxy.steps import Outcome


class Sink(Protocol):
    """What a source calls. None of these raises. scope: where the subscription's statistics stand."""

    @property
    def type_url(self) -> str: ...

    @property
    def scope(self) -> StatsScope: ...

    def attempted(self) -> None:
        """Count an attempt: of a stream the subscription and each outcome, of a file each reading."""

    def update(self, added: Sequence[Resource], removed: Sequence[str], *, full: bool, version: str) -> Outcome:
        """One response, applied before this returns, or when its last step is taken. full: `added` is all there is.

        Returns what is wrong with those that were refused, by name; the others are in force.
        """

    def failed(self, reason: str, detail: str) -> None:
        """Nothing came. reason: "connection" (no stream), "unreadable" (a file) or "rejected" (not to be decoded)."""


class Subscription(Protocol):
    """What `Source.subscribe` gives."""

    def close(self) -> None:
        """The names aren't wanted any more; the sink isn't called again."""


class Pause(Protocol):
    """What `Source.pause` gives."""

    def resume(self) -> None:
        """End it; again is harmless."""


class Source(Protocol):
    """A file, or a management server."""

    def subscribe(self, type_url: str, names: Sequence[str], sink: Sink) -> Subscription:
        """Begin to fetch; without names: everything of the type. The sink may be called before this returns."""

    def pause(self, *type_urls: str) -> Pause:
        """Ask for nothing of these types, and acknowledge nothing, until the pause ends."""

    def describe(self) -> dict[str, Any]:
        """What there is to know of it, as plain data."""

    def close(self) -> None:
        """Fetch nothing any more."""


@dataclass(slots=True)
class Host:
    """What a source is given.

    node: the message envoy.config.core.v3.Node. clusters: live ones, to reach management servers through. stats: the
    root scope. busy: the loop carries traffic, so what takes long is done in a thread (a process that forks has none).
    unknown_fields: what becomes of them. pace: what of its time is for discovery.
    """

    loop: asyncio.AbstractEventLoop
    clock: Clock
    rng: random.Random
    log: Logger
    node: Any
    clusters: Any
    stats: StatsScope
    unknown_fields: UnknownFields
    busy: bool = True
    pace: Pace = field(default_factory=lambda: Pace(lambda: 0.0, lambda: False))


class Sources:
    """All sources of one process. make_remote: for kinds other than files."""

    def __init__(self, host: Host, make_remote: Callable[[ConfigSource, Host], Source] | None = None) -> None:
        self._host = host
        self._make_remote = make_remote
        self._moves: Any = None
        self._files: list[Any] = []
        self._sources: dict[tuple[str, str, str, Any], Source] = {}

    def of(self, config: ConfigSource) -> Source:
        """The source that `config` means; one for all that mean the same."""
        key = (config.kind, config.path, config.watched_directory, config.api)
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = self._make(config)
        return source

    def _make(self, config: ConfigSource) -> Source:
        if config.kind == "path":
            from meshproxy.runtime.discovery.files import FileSource

            return FileSource(self._host, self._all_moves(), config.path, config.watched_directory)
        assert self._make_remote is not None  # refused when it was compiled
        return self._make_remote(config, self._host)

    def _all_moves(self) -> Any:
        from meshproxy.runtime.discovery.moves import Moves

        if self._moves is None:
            self._moves = Moves(self._host.loop)  # one for all: a user may have but 128 of them
        return self._moves

    def watch_file(self, path: str, changed: Callable[[], None]) -> None:
        """Call back whenever another file is moved to the place of `path`."""
        from meshproxy.runtime.discovery.moves import FileWatch

        self._files.append(FileWatch(self._host.loop, self._all_moves(), path, "", changed))

    def describe(self) -> list[dict[str, Any]]:
        """Every source in use."""
        return [source.describe() for source in self._sources.values()]

    def close(self) -> None:
        """Stop them all."""
        for source in self._sources.values():
            source.close()
        self._sources.clear()
        for file in self._files:
            file.close()
        self._files.clear()
        if self._moves is not None:
            self._moves.close()
            self._moves = None
