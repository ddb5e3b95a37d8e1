"""Reading the bootstrap again, without a control plane: on SIGHUP, and when its file has become another.

The whole file is compiled first, beside the traffic, and if anything in it is wrong nothing changes. Then its listeners
and clusters go the way that those of discovery go, in slices: what is the same isn't touched, what changed warms and
takes over, what is gone drains. Layers of the runtime take the place of those before.
The rest of a bootstrap (node, admin, statistics, secrets) is what a process is made with; a change there is named in
the log and waits for a restart.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Set
from typing import Any

from meshproxy.errors import ConfigError
from meshproxy.model.discovery import Resource
from meshproxy.plugin.context import Logger
from meshproxy.runtime.discovery.cluster_discovery import STATIC
from meshproxy.runtime.discovery.engine import Discovery
from meshproxy.runtime.discovery.pace import paced
from meshproxy.runtime.process.aside import aside
from meshproxy.runtime.process.configuration import Configuration
from meshproxy.steps import Steps

Load = Callable[[], Configuration]
"""Reads and compiles the bootstrap anew. Raises ConfigError."""

_LOOK_EVERY = 1.0


class Reload:
    """load: None when there is nothing to read again. path: the file to watch, "" for none."""

    def __init__(
        self,
        discovery: Discovery,
        configuration: Configuration,
        load: Load,
        path: str,
        log: Logger,
        took: Callable[[Any], None],
    ) -> None:
        """took: called with the message that is in force from now on."""
        self._discovery = discovery
        self._load = load
        self._path = path
        self._log = log
        self._took = took
        self._message: Any = configuration.loaded.message
        self._loop = discovery.hub.host.loop
        self._seen = self._pending = self._look_at()
        self._timer: Any = None
        self._task: asyncio.Task[None] | None = None
        self._asked = False
        scope = discovery.hub.host.stats.scope("meshproxy.reload.")
        self._success = scope.counter("success")
        self._rejected = scope.counter("rejected")

    def watch(self) -> None:
        """Begin to look at the file."""
        if self._path:
            self._timer = self._loop.call_later(_LOOK_EVERY, self._look)

    def _look_at(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size

    def _look(self) -> None:
        self._timer = self._loop.call_later(_LOOK_EVERY, self._look)
        now = self._look_at()
        if now is None or now == self._seen:
            return
        if now != self._pending:
            self._pending = now  # it may be in the middle of being written: once more, when it has come to rest
            return
        self._seen = now
        self.reload()

    def reload(self) -> None:
        """Read, and put into force what is new; once more if that is asked for meanwhile."""
        self._asked = True
        if self._task is None:
            self._task = self._loop.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._asked:
                self._asked = False
                await self._read_again()
        finally:
            self._task = None

    async def _read_again(self) -> None:
        self._seen = self._pending = self._look_at()
        host = self._discovery.hub.host
        try:
            fresh = await aside(self._load) if host.busy else self._load()
        except ConfigError as error:
            self._rejected.inc()
            for problem in error.problems:
                self._log.error("the new configuration is refused; the former stays", problem=str(problem))
            return
        errors = await paced(self._apply(fresh), host.pace, self._loop.time)
        for name, fault in errors.items():
            self._log.error("part of the new configuration is refused", name=name, error=fault)
        (self._rejected if errors else self._success).inc()
        runs_on = self._discovery.use_layers(fresh.snapshot.layers)
        self._warn_of_others(fresh.loaded.message, {"static_resources"} | ({"layered_runtime"} if runs_on else set()))
        self._message = fresh.loaded.message
        self._took(self._message)
        self._log.info("configuration read again", refused=len(errors))

    def _apply(self, fresh: Configuration) -> Steps[dict[str, str]]:
        static = fresh.loaded.view.view("static_resources")
        clusters = static.views("clusters") if static is not None else []
        listeners = static.views("listeners") if static is not None else []
        discovery = self._discovery
        names = list(fresh.snapshot.clusters)
        errors = dict((yield from discovery.clusters.apply(STATIC, _resources(names, clusters), (), True, "")))
        names = [listener.name for listener in fresh.snapshot.listeners]
        errors.update((yield from discovery.listeners.apply(STATIC, _resources(names, listeners), (), True, "")))
        return errors

    def _warn_of_others(self, message: Any, taken: Set[str]) -> None:
        changed = [
            field.name
            for field in message.DESCRIPTOR.fields
            if field.name not in taken and getattr(message, field.name) != getattr(self._message, field.name)
        ]
        if list(message.static_resources.secrets) != list(self._message.static_resources.secrets):
            changed.append("static_resources.secrets")
        if changed:
            self._log.warning("changed, but only a restart brings it into force", fields=" ".join(changed))

    def close(self) -> None:
        """Look no more."""
        for waiting in (self._timer, self._task):
            if waiting is not None:
                waiting.cancel()


def _resources(names: Iterable[str], views: Iterable[Any]) -> list[Resource]:
    return [Resource(name, "", view.raw(), view.place, checked=True) for name, view in zip(names, views, strict=True)]
