"""Single resources, as discovery brings them: each is compiled by itself, and accepted or refused whole.

What holds for a bootstrap holds here: the API's own rules on values, no field that nothing reads, every fault named
with its place (a resource from a file has one) or else with its type and name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from meshproxy.config.clusters.alike_clusters import Patterned, patterned, patterns_of
from meshproxy.config.clusters.clusters import compile_cluster
from meshproxy.config.clusters.endpoints import compile_assignment
from meshproxy.config.listeners.listeners import compile_listener
from meshproxy.config.text.constraints import check_constraints
from meshproxy.config.tls.tls_secrets import Secret, compile_secret
from meshproxy.config.values.context import CompileContext, resource_context
from meshproxy.errors import ConfigError, Problem
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.discovery import Resource
from meshproxy.model.endpoint import Assignment
from meshproxy.model.extension_slot import ExtensionSlot
from meshproxy.model.listener import FilterSpec, Listener
from meshproxy.model.route import RouteTable
from meshproxy.model.route_slot import RouteSlot
from meshproxy.plugin.view import ConfigView
from meshproxy.steps import Steps, finish

T = TypeVar("T")


def resource_view(resource: Resource) -> ConfigView:
    """A view of a resource whose values are within the API's rules. Raises ConfigError."""
    message = resource.message
    source = "" if resource.place is not None else f"{message.DESCRIPTOR.name} '{resource.name}'"
    if not resource.checked:
        problems, _ = check_constraints(message, None, source=source)
        if problems:
            raise ConfigError(problems)
    return ConfigView(message, place=resource.place, source=source)


@contextmanager
def _compiling(resource: Resource, context: CompileContext) -> Iterator[tuple[ConfigView, CompileContext]]:
    """While one resource is compiled: its view, and a context of its own whose statistics go if that fails.

    Raises ConfigError at the end for what was noted in the context, and for fields that nobody read.
    """
    own = resource_context(context)
    with ExitStack() as undo:
        undo.callback(own.stats.close)
        view = resource_view(resource)
        yield view, own
        problems = [*own.problems, *view.unread_problems()]
        if problems:
            raise ConfigError(problems)
        undo.pop_all()


def _compile_plain(
    resource: Resource, context: CompileContext, compile: Callable[[ConfigView, CompileContext], T]
) -> T:
    """Compile what makes no statistics: the scope for them goes at once, or each update would leave one."""
    with _compiling(resource, context) as (view, own):
        try:
            return compile(view, own)
        finally:
            own.stats.close()


def cluster_of(resource: Resource, context: CompileContext) -> ClusterConfig:
    """A `Cluster`. Raises ConfigError."""
    patterns = patterns_of(context)
    found = resource.compiled
    cluster = found if isinstance(found, Patterned) else patterned(resource.message)
    if cluster is not None:
        config = patterns.compile(cluster, context)
        if config is not None:
            return config
    config = _compile_plain(resource, context, compile_cluster)
    if cluster is not None:
        patterns.keep(cluster, config, context)
    return config


def listener_of(
    resource: Resource, context: CompileContext, check_logs: Callable[[Mapping[str, Problem]], None]
) -> Listener:
    """A `Listener`. check_logs: sees to it that its access logs can be written. Raises ConfigError."""
    return finish(listener_in_steps(resource, context, check_logs))


def listener_in_steps(
    resource: Resource, context: CompileContext, check_logs: Callable[[Mapping[str, Problem]], None]
) -> Steps[Listener]:
    """The same, a filter chain with each step."""
    with _compiling(resource, context) as (view, own):
        yield
        listener = yield from compile_listener(view, own)
        check_logs(own.log_files)
    return listener


def assignment_of(resource: Resource, context: CompileContext) -> Assignment:
    """A `ClusterLoadAssignment`. Raises ConfigError."""
    if isinstance(resource.compiled, Assignment):
        return resource.compiled
    return _compile_plain(resource, context, lambda view, own: compile_assignment(view, own, names=False))


def secret_of(resource: Resource, context: CompileContext) -> Secret:
    """A `Secret`. Raises ConfigError."""
    return _compile_plain(resource, context, lambda view, own: compile_secret(view, own.environ)[1])


def extension_of(resource: Resource, slot: ExtensionSlot) -> FilterSpec:
    """A `TypedExtensionConfig` for the filter of `slot`. Raises ConfigError."""
    return slot.compile(resource_view(resource))


def routes_of(resource: Resource, slot: RouteSlot) -> RouteTable:
    """A `RouteConfiguration` for the connection manager of `slot`. Raises ConfigError."""
    return finish(routes_in_steps(resource, slot))


def routes_in_steps(resource: Resource, slot: RouteSlot) -> Steps[RouteTable]:
    """The same, a virtual host with each step: there may be thousands."""
    assert slot.compile is not None
    view = resource_view(resource)
    yield
    return (yield from slot.compile(view))
