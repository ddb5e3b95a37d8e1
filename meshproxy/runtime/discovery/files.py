"""Resources from a file: `path_config_source` (envoy.config.core.v3.PathConfigSource).

The file is a DiscoveryResponse in YAML or JSON. It is read when somebody subscribes and whenever another file is moved
to its place; a large one in a thread, for that takes a while. A file that can't be read or parsed is
counted and reported, and what ran goes on running.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from meshproxy.config.text.bootstrap_load import load_message, read_source
from meshproxy.errors import ConfigError
from meshproxy.model.discovery import Resource
from meshproxy.plugin.view import TypedView
from meshproxy.records import dataclass
from meshproxy.runtime.discovery.moves import FileWatch, Moves
from meshproxy.runtime.discovery.names import resource_name
from meshproxy.runtime.discovery.pace import paced
from meshproxy.runtime.discovery.sources import Host, Sink
from meshproxy.runtime.process.aside import aside
from meshproxy.runtime.process.collector import MANY, making_much
from meshproxy.steps import Outcome, Steps, in_steps
from meshproxy.xds.mux import Pause

_RESPONSE = "envoy.service.discovery.v3.DiscoveryResponse"
_WRAPPER = "envoy.service.discovery.v3.Resource"


_LARGE = 65536
"""Bytes; a smaller file is read where it is asked for, in some milliseconds."""


class Undecodable(Exception):
    """The file is a DiscoveryResponse, but what is in it isn't to be had."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file said. unknown: fields in it that nobody knows."""

    version: str
    resources: tuple[Resource, ...]
    types: frozenset[str]
    unknown: tuple[str, ...] = ()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def read_file(path: str, allow_unknown_fields: bool) -> Content:
    """Read and decode. Raises ConfigError for what can't be read, Undecodable for what makes no sense."""
    loaded = load_message(_RESPONSE, [read_source(path)], allow_unknown_fields=allow_unknown_fields)
    view = loaded.view
    version = view.text("version_info")
    for name in ("type_url", "nonce"):
        view.text(name)
    try:
        entries = [_unwrap(entry, version) for entry in view.anys("resources")]
    except ConfigError as error:
        raise Undecodable(str(error)) from None
    problems = view.unread_problems()
    if problems:
        raise Undecodable(str(problems[0]))
    return Content(
        version,
        tuple(resource for resource, _ in entries),
        frozenset(name for _, name in entries),
        tuple(str(problem) for problem in loaded.unknown),
    )


def _unwrap(entry: TypedView, version: str) -> tuple[Resource, str]:
    """A resource and the full name of its type."""
    name = ""
    if entry.full_name == _WRAPPER:
        wrapper = entry.message(_WRAPPER)
        name = wrapper.text("name")
        version = wrapper.text("version") or version
        inner = wrapper.any("resource")
        if inner is None:
            wrapper.fail("no resource in it")
        entry = inner
    if entry.view is None:
        entry.fail("a resource is a message of the API")
    message = entry.view.raw()
    # It was checked with the file that it stands in.
    return Resource(name or resource_name(message), version, message, entry.place, checked=True), entry.full_name


def _deliver(subscriptions: Sequence[FileSubscription], outcome: Content | Exception) -> Steps[None]:
    for subscription in subscriptions:
        yield from in_steps(subscription.deliver(outcome))
        yield


class FileSource:
    """One file."""

    def __init__(self, host: Host, moves: Moves, path: str, watched_directory: str) -> None:
        self._host = host
        self._path = path
        self._watched_directory = watched_directory
        self._subscribers: dict[FileSubscription, None] = {}
        self._watch: FileWatch | None = None
        self._moves = moves
        self._reading: asyncio.Task[None] | None = None
        self._waiting: list[FileSubscription] = []  # for the next reading

    def subscribe(self, type_url: str, names: Sequence[str], sink: Sink) -> FileSubscription:
        """See `Source`."""
        subscription = FileSubscription(self, type_url.rpartition("/")[2], frozenset(names), sink)
        self._subscribers[subscription] = None
        if self._watch is None:
            self._watch = FileWatch(
                self._host.loop, self._moves, self._path, self._watched_directory, self._read_for_all
            )
        self._read_for([subscription])
        return subscription

    def _read_for_all(self) -> None:
        self._read_for(list(self._subscribers))

    def _read_for(self, subscriptions: Sequence[FileSubscription]) -> None:
        self._waiting += subscriptions
        if self._reading is None:
            self._reading = self._host.loop.create_task(self._read())

    async def _read(self) -> None:
        # One turn later, so that everybody who subscribes in this one is served by the same reading.
        await asyncio.sleep(0)
        pace, loop = self._host.pace, self._host.loop
        while self._waiting:
            while delay := pace.wait():
                await asyncio.sleep(delay)
            waiting = list(dict.fromkeys(self._waiting))
            self._waiting.clear()
            outcome: Content | Exception
            began = loop.time()
            allow_unknown = not self._host.unknown_fields.reject
            try:
                if self._host.busy and _size(self._path) > _LARGE:
                    outcome = await aside(partial(read_file, self._path, allow_unknown))
                    began = loop.time()
                else:
                    outcome = read_file(self._path, allow_unknown)
            except (ConfigError, Undecodable) as error:
                outcome = error
            pace.spent(loop.time() - began)
            if isinstance(outcome, Content):
                self._host.unknown_fields.tell(outcome.unknown)
            many = isinstance(outcome, Content) and len(outcome.resources) > MANY
            with making_much(many):
                await paced(_deliver(waiting, outcome), pace, loop.time)
        self._reading = None

    def pause(self, *_: str) -> Pause:
        """Nothing: a file isn't answered."""
        return Pause([])

    def describe(self) -> dict[str, Any]:
        """See `Source`."""
        return {"path": self._path, "subscriptions": len(self._subscribers)}

    def forget(self, subscription: FileSubscription) -> None:
        """It has been closed."""
        self._subscribers.pop(subscription, None)
        if not self._subscribers:
            self._unwatch()

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def close(self) -> None:
        """See `Source`."""
        self._subscribers.clear()
        self._unwatch()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None


class FileSubscription:
    """What one sink wants of the file."""

    def __init__(self, source: FileSource, type_name: str, names: frozenset[str], sink: Sink) -> None:
        self._source = source
        self._type_name = type_name
        self._names = names
        self._sink = sink
        self._closed = False

    def deliver(self, outcome: Content | Exception) -> Outcome:
        """The file was read, or couldn't be."""
        if self._closed:
            return {}
        sink = self._sink
        sink.attempted()
        if isinstance(outcome, Undecodable):
            sink.failed("rejected", str(outcome))
            return {}
        if isinstance(outcome, Exception):
            sink.failed("unreadable", str(outcome))
            return {}
        wrong = outcome.types - {self._type_name}
        if wrong:
            found = ", ".join(sorted(wrong))
            sink.failed("rejected", f"{self._source._path}: {found} does not match the type {self._type_name}")
            return {}
        if not self._names:
            return sink.update(outcome.resources, (), full=True, version=outcome.version)
        wanted = [resource for resource in outcome.resources if resource.name in self._names]
        if outcome.resources and not wanted:
            expected, found = ", ".join(sorted(self._names)), outcome.resources[0].name
            message = f"Unexpected {self._type_name.rpartition('.')[2]} (expecting {expected}): {found}"
            sink.failed("rejected", message)
            return {}
        return sink.update(wanted, (), full=False, version=outcome.version)

    def close(self) -> None:
        """See `Subscription`."""
        self._closed = True
        self._source.forget(self)
