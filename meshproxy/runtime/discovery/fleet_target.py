"""Discovery with several workers: the parent decides, each worker carries it out.

What crosses to a worker are messages as they came, packed, with the sockets beside them (SCM_RIGHTS); the worker
compiles them again, with its own statistics. A worker that is forked later has it all in its memory already: the
parent's compiled objects are what it starts from.

Warming has two halves here: what must be fetched is the parent's, names and health checks are each worker's, which
keeps its old cluster until its new one is warm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from meshproxy.config.bootstrap.resources import (
    assignment_of,
    cluster_of,
    extension_of,
    listener_of,
    routes_of,
    secret_of,
)
from meshproxy.config.values.context import CompileContext
from meshproxy.messages.by_name import message_class, name_of_type_url
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.discovery import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET, ConfigSource, Resource
from meshproxy.model.endpoint import Assignment
from meshproxy.model.extension_slot import ExtensionSlot
from meshproxy.model.listener import Listener
from meshproxy.runtime.discovery.extension_discovery import extension_slots_of
from meshproxy.runtime.discovery.listener_parts import keep_chains, managers_of
from meshproxy.runtime.discovery.names import resource_name
from meshproxy.runtime.discovery.secret_discovery import slots_of
from meshproxy.runtime.discovery.target import LocalTarget, Opened
from meshproxy.runtime.process.configuration import check_log_files
from meshproxy.runtime.workers.supervisor import Supervisor


class FleetTarget:
    """A `Target` in the parent. supervisor: set once there is one; before, there are no workers to tell."""

    def __init__(self, drain_time: float) -> None:
        self.supervisor: Supervisor | None = None
        self._drain_time = drain_time

    def _tell(self, *operation: Any, sockets: Opened | None = None) -> None:
        if self.supervisor is not None:
            self.supervisor.tell("discovery", operation, sockets)

    def set_cluster(self, config: ClusterConfig, message: Any, endpoints: Any, when_warm: Callable[[], object]) -> None:
        """See `Target`."""
        self._tell("cluster", message.SerializeToString(), endpoints and endpoints.SerializeToString())
        when_warm()

    def set_endpoints(self, name: str, assignment: Assignment, message: Any, *, warming: bool) -> None:
        """See `Target`. Those of a cluster that warms go with it."""
        if not warming:
            self._tell("endpoints", name, message.SerializeToString())

    def remove_cluster(self, name: str) -> None:
        """See `Target`."""
        self._tell("remove_cluster", name)

    def set_listener(
        self,
        config: Listener,
        message: Any,
        sockets: Opened | None,
        heir_of: str,
        when_drained: Callable[[], object],
    ) -> None:
        """See `Target`."""
        supervisor = self.supervisor
        if supervisor is None:
            return
        supervisor.own_sockets(config.name, sockets, heir_of)
        self._tell("listener", message.SerializeToString(), sockets is None, heir_of, sockets=sockets)
        if heir_of:
            supervisor.loop.call_later(self._drain_time, when_drained)

    def update_chains(self, config: Listener, message: Any, when_drained: Callable[[], object]) -> None:
        """See `Target`."""
        self._tell("chains", message.SerializeToString())
        if self.supervisor is not None:
            self.supervisor.loop.call_later(self._drain_time, when_drained)

    def remove_listener(self, name: str, when_drained: Callable[[], object]) -> None:
        """See `Target`."""
        if self.supervisor is not None:
            self.supervisor.disown_sockets(name)
            self._tell("remove_listener", name)
            self.supervisor.loop.call_later(self._drain_time, when_drained)

    def set_routes(self, name: str, source: ConfigSource, message: Any) -> None:
        """See `Target`."""
        self._tell("routes", name, message and message.SerializeToString())

    def set_extension(self, kind: str, name: str, message: Any) -> None:
        """See `Target`."""
        self._tell("extension", kind, name, message and message.SerializeToString())

    def set_secret(self, name: str, message: Any) -> None:
        """See `Target`."""
        self._tell("secret", name, message.SerializeToString())

    def set_runtime(self, values: dict[str, Any]) -> None:
        """See `Target`."""
        self._tell("runtime", values)


class WorkerSide:
    """Carries out in a worker what the parent's `FleetTarget` says.

    listeners: those that the worker was forked with, and their messages. routes, secrets, extensions (by kind): those
    in force.
    take_sockets: gives the sockets that the parent sent beside an operation.
    """

    def __init__(
        self,
        target: LocalTarget,
        context: CompileContext,
        listeners: Iterable[tuple[Listener, Any]],
        routes: Iterable[Resource],
        secrets: Iterable[Resource],
        extensions: Iterable[tuple[str, Resource]],
        take_sockets: Callable[[], list[Any]],
    ) -> None:
        self._target = target
        self._context = context
        self._listeners = {config.name: (config, message) for config, message in listeners}
        self._draining: list[Listener] = []
        self._routes = {resource.name: resource for resource in routes}
        self._secrets = {resource.name: secret_of(resource, context) for resource in secrets}
        self._extensions = {(kind, resource.name): resource for kind, resource in extensions}
        self._take_sockets = take_sockets
        self._operations: dict[str, Callable[..., None]] = {
            "cluster": self._cluster,
            "endpoints": self._endpoints,
            "remove_cluster": self._remove_cluster,
            "listener": self._listener,
            "chains": self._chains,
            "remove_listener": self._remove_listener,
            "routes": self._set_routes,
            "secret": self._set_secret,
            "extension": self._set_extension,
            "runtime": context.runtime.replace,
        }

    def perform(self, operation: tuple[Any, ...]) -> None:
        """Carry out one operation."""
        name, *arguments = operation
        self._operations[name](*arguments)

    def _cluster(self, packed: bytes, endpoints: bytes | None) -> None:
        resource = _unpack(CLUSTER, packed)
        config = cluster_of(resource, self._context)
        if endpoints is not None:
            assignment = assignment_of(_unpack(ENDPOINTS, endpoints), self._context)
            config = config.with_endpoints(assignment)
        self._provide(config)
        self._context.cluster_names.add(config.name)
        self._target.set_cluster(config, resource.message, None, lambda: None)

    def _endpoints(self, name: str, packed: bytes) -> None:
        resource = _unpack(ENDPOINTS, packed)
        assignment = assignment_of(resource, self._context)
        for warming in (False, True):  # it may still be looking its new cluster over
            self._target.set_endpoints(name, assignment, resource.message, warming=warming)

    def _remove_cluster(self, name: str) -> None:
        self._context.cluster_names.discard(name)
        self._target.remove_cluster(name)

    def _compile_listener(self, packed: bytes) -> tuple[Listener, Any]:
        resource = _unpack(LISTENER, packed)
        config = listener_of(resource, self._context, check_log_files)
        for manager in managers_of(config):
            self._fill(manager.routes)
        for slot in extension_slots_of(config):
            self._fill_extension(slot)
        self._provide(config)
        return config, resource.message

    def _fill(self, slot: Any) -> None:
        if slot.source is not None:
            resource = self._routes.get(slot.name)
            slot.set(routes_of(resource, slot) if resource is not None else None)

    def _listener(self, packed: bytes, inherits: bool, heir_of: str) -> None:
        sockets = None if inherits else [self._take_sockets()]
        config, message = self._compile_listener(packed)
        drained = self._drains(self._listeners.pop(heir_of, None))
        self._listeners[config.name] = config, message
        self._target.set_listener(config, message, sockets, heir_of, drained)

    def _drains(self, before: tuple[Listener, Any] | None) -> Callable[[], object]:
        """Connections of a listener may be left, and follow what it was configured with. Returns what is to be called
        when there are none any more."""
        if before is None:
            return lambda: None
        self._draining.append(before[0])
        return partial(self._draining.remove, before[0])

    def _in_use(self) -> list[Listener]:
        """The listeners that are in force, and those with connections left."""
        return [*(config for config, _ in self._listeners.values()), *self._draining]

    def _chains(self, packed: bytes) -> None:
        config, message = self._compile_listener(packed)
        before, before_message = self._listeners[config.name]
        config = keep_chains(before, before_message, config, message)
        drained = self._drains(self._listeners[config.name])
        self._listeners[config.name] = config, message
        self._target.update_chains(config, message, drained)

    def _remove_listener(self, name: str) -> None:
        drained = self._drains(self._listeners.pop(name, None))
        self._target.remove_listener(name, drained)

    def _set_routes(self, name: str, packed: bytes | None) -> None:
        if packed is None:
            self._routes.pop(name, None)
        else:
            self._routes[name] = _unpack(ROUTES, packed)
        for config in self._in_use():
            for manager in managers_of(config):
                if manager.routes.name == name:
                    self._fill(manager.routes)

    def _fill_extension(self, slot: ExtensionSlot) -> None:
        resource = self._extensions.get((slot.kind, slot.name))
        slot.set(extension_of(resource, slot) if resource is not None else None)

    def _set_extension(self, kind: str, name: str, packed: bytes | None) -> None:
        if packed is None:
            self._extensions.pop((kind, name), None)
        else:
            self._extensions[kind, name] = _unpack(EXTENSION, packed)
        for config in self._in_use():
            for slot in extension_slots_of(config):
                if (slot.kind, slot.name) == (kind, name):
                    self._fill_extension(slot)

    def _set_secret(self, name: str, packed: bytes) -> None:
        self._secrets[name] = secret_of(_unpack(SECRET, packed), self._context)
        for owner in self._target.owners():
            self._provide(owner, name)

    def _provide(self, owner: ClusterConfig | Listener, only: str = "") -> None:
        for slot in slots_of(owner):
            for reference in slot.awaited:
                secret = self._secrets.get(reference.name)
                if secret is not None and only in ("", reference.name):
                    slot.provide(reference, secret)


def _unpack(type_url: str, packed: bytes) -> Resource:
    message_type = message_class(name_of_type_url(type_url))
    assert message_type is not None
    message = message_type()
    message.ParseFromString(packed)
    return Resource(resource_name(message), "", message, checked=True)  # by the parent
