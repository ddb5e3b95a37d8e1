"""Clusters that differ only in what is their own: checked and compiled once, and for the others that part alone.

A mesh has thousands of clusters, and a control plane writes nearly all of them from one pattern: name, endpoints,
metadata and the identity that TLS asks for differ, limits, protocols and outlier detection don't. A pattern is the
bytes of a cluster without its own part; what was said of it once holds for all that share it.

The outcome is that of checking and compiling in full: patterns are remembered only of clusters that were accepted, and
only of kinds whose compiled form doesn't hang on the name elsewhere. Whatever is out of the ordinary or wrong is done
in full, by code that names the place of each fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from meshproxy.config.text.constraints import check_constraints, check_unpacked
from meshproxy.config.text.plain_endpoints import plain_assignment
from meshproxy.config.tls.transport_sockets import compile_transport_socket_matches, compile_upstream_socket
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.metadata import compile_metadata
from meshproxy.errors import ConfigError
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.discovery import EndpointDiscovery
from meshproxy.model.endpoint import Assignment
from meshproxy.plugin import reading_record
from meshproxy.plugin.view import ConfigView
from meshproxy.records import dataclass

_STATIC, _EDS = 0, 3  # Cluster.DiscoveryType
_OWN = ("name", "alt_stat_name", "metadata", "transport_socket", "transport_socket_matches")
_SOURCE, _FILES = "config_source_specifier", ("path", "path_config_source")
_MOST = 1024


@dataclass(frozen=True, slots=True)
class Patterned:
    """A cluster and its pattern."""

    message: Any
    pattern: bytes

    def own_part(self) -> Any:
        """A message of what it doesn't share with others, its endpoints left out."""
        message = self.message
        own = type(message)(name=message.name, alt_stat_name=message.alt_stat_name)
        for name in ("metadata", "transport_socket"):
            if message.HasField(name):
                getattr(own, name).CopyFrom(getattr(message, name))
        own.transport_socket_matches.MergeFrom(message.transport_socket_matches)
        return own

    def endpoints(self) -> Assignment | None:
        """Those in it; None when they have to be read the long way."""
        message = self.message
        return plain_assignment(message.load_assignment) if message.HasField("load_assignment") else Assignment()


def patterned(message: Any) -> Patterned | None:
    """A cluster with its pattern; None for one that has to be looked at as a whole."""
    if (
        message.WhichOneof("cluster_discovery_type") == "cluster_type"
        or message.type not in (_STATIC, _EDS)
        or message.health_checks
        or message.eds_cluster_config.eds_config.WhichOneof(_SOURCE) in _FILES  # which have to be there each time
        or reading_record.active
    ):
        return None
    rest = type(message)()
    rest.CopyFrom(message)
    for name in _OWN:
        rest.ClearField(name)
    rest.ClearField("load_assignment")
    if rest.HasField("eds_cluster_config"):
        rest.eds_cluster_config.ClearField("service_name")
    has_endpoints = message.HasField("load_assignment")
    return Patterned(message, rest.SerializeToString(deterministic=True) + (b"\1" if has_endpoints else b"\0"))


class CheckedPatterns:
    """Patterns that keep the API's rules, as far as `check_unpacked` looks."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def check(self, cluster: Patterned) -> Patterned | None:
        """The cluster, when all of it keeps the rules and its pattern was known to; None when that isn't sure."""
        pattern = self._known.get(cluster.pattern)
        if pattern is None or cluster.endpoints() is None or check_unpacked(cluster.own_part())[0]:
            return None
        return Patterned(cluster.message, pattern)  # one object for the bytes of all

    def keep(self, cluster: Patterned) -> None:
        """A cluster was found to keep the rules."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[cluster.pattern] = cluster.pattern


class CompiledPatterns:
    """What clusters with a pattern were compiled to."""

    def __init__(self) -> None:
        self._known: dict[bytes, ClusterConfig] = {}

    def keep(self, cluster: Patterned, config: ClusterConfig, context: CompileContext) -> None:
        """A cluster was compiled in full, and accepted."""
        if config.name == context.cluster_manager.local_cluster_name:
            return
        if config.policies.filters:  # whose statistics have the cluster's name
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[cluster.pattern] = config

    def compile(self, cluster: Patterned, context: CompileContext, *, checked: bool = False) -> ClusterConfig | None:
        """A cluster with a known pattern; None when it isn't known, or there is something to say about the own part.

        checked: that part keeps the API's rules.
        """
        known, message = self._known.get(cluster.pattern), cluster.message
        if known is None or message.name in ("", context.cluster_manager.local_cluster_name):
            return None
        assignment = cluster.endpoints()
        changes = _compile_own(cluster.own_part(), context, checked) if assignment is not None else None
        if assignment is None or changes is None:
            return None
        eds = known.eds
        if eds is not None:
            eds = EndpointDiscovery(eds.source, message.eds_cluster_config.service_name or message.name)
        return replace(
            known,
            name=message.name,
            alt_stat_name=message.alt_stat_name,
            endpoints=assignment.endpoints,
            overprovisioning_factor=assignment.overprovisioning_factor,
            drop_overload=assignment.drop_overload,
            eds=eds,
            **changes,
        )


def patterns_of(context: CompileContext) -> CompiledPatterns:
    """Those of a process, which all that is compiled in it shares."""
    found: CompiledPatterns = context.shared_objects.setdefault(CompiledPatterns, CompiledPatterns())
    return found


def _compile_own(message: Any, context: CompileContext, checked: bool) -> Mapping[str, Any] | None:
    if not checked and check_constraints(message, None) != ([], []):
        return None
    context = replace(context, problems=[], warnings=[], log_files={})
    view = ConfigView(message)
    try:
        for name in ("name", "alt_stat_name"):
            view.text(name)
        metadata = compile_metadata(view, "metadata")
        upstream = compile_upstream_socket(view.view("transport_socket"), context)
        matches = compile_transport_socket_matches(view, context)
    except ConfigError:
        return None
    if view.unread_problems() or context.problems or context.warnings:
        return None
    return {
        "metadata": metadata,
        "transport_socket": upstream.socket,
        "proxy_header": upstream.header,
        "passing": upstream.passing,
        "transport_socket_matches": matches,
    }
