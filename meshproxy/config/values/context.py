"""What compiling a configuration needs beside the configuration, and where its problems are gathered.

Compiling goes on after a fault, because whoever mends a file wants all of them at once: problems are added to the
context's list (`ConfigView.collect` does it around one part), and the whole is refused at the end.

What belongs to sibling packages (the formatter of access logs, TLS) is given from outside, by
`meshproxy.runtime.process.configuration`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Hashable, Mapping
from dataclasses import field, replace
from typing import Any, Protocol

from meshproxy.cel.surroundings import Surroundings
from meshproxy.clock import Clock
from meshproxy.errors import Problem
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.dns import DnsResolverOptions
from meshproxy.model.listener import NO_EXTENSIONS, FormatExtensions, LineFormatter, MakeOperator, TransportSocket
from meshproxy.model.overload import OverloadConfig
from meshproxy.model.route import ValueFormatter
from meshproxy.model.snapshot import ClusterManagerConfig, Node, StatsConfig
from meshproxy.plugin.context import Logger
from meshproxy.plugin.registry import FilterRegistry
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.view import ConfigView
from meshproxy.records import dataclass
from meshproxy.runtime_values import RuntimeValues


class FormatCompiler(Protocol):
    """Envoy's substitution format strings, compiled. All methods raise ValueError for a bad format."""

    def measures(self) -> bool:
        """Whether some format asks for values that are only noted then: bytes on the wire, times of the upstream."""

    def measures_routes(self) -> bool:
        """The same of how often a route was looked for, and for how long."""

    def text(
        self, text: str, *, omit_empty_values: bool = False, extensions: FormatExtensions = NO_EXTENSIONS
    ) -> LineFormatter:
        """A line (or body) from a text with operators. extensions: operators that aren't there by themselves; None: one
        that the compiler knows all the same."""

    def json(
        self, value: Mapping[str, Any], *, omit_empty_values: bool = False, extensions: FormatExtensions = NO_EXTENSIONS
    ) -> LineFormatter:
        """One line of JSON, its newline included, from nested mappings, lists and texts with operators."""

    def header(self, text: str) -> str | ValueFormatter:
        """The value of a header: a str (Latin-1, as on the wire) when it is constant, else a function of the stream."""


def resource_context(context: CompileContext) -> CompileContext:
    """A context for one resource: problems of its own, and statistics that can be given up with it (`stats.close`)."""
    return replace(context, problems=[], warnings=[], log_files={}, stats=context.stats.scope(""))


def _no_cluster(message: Any, context: CompileContext) -> ClusterConfig:
    raise AssertionError("nobody has said how clusters are compiled")


FormatExtensionCompiler = Callable[[ConfigView, "CompileContext"], tuple[str, MakeOperator]]
"""From a formatter extension's configuration to the name and the making of the operator that it adds."""
TransportSocketCompiler = Callable[[ConfigView, "CompileContext"], TransportSocket]


@dataclass(slots=True)
class CompileContext:
    """Everything that compile functions ask for.

    stats: the root scope. make_logger: name -> logger. formats: see `FormatCompiler`.
    format_extensions: full message name -> compiler, for formatter extensions that the formats don't know themselves.
    transport_sockets: full message name -> compiler, for sockets other than raw.
    configure_stats: called with the bootstrap's `stats_config` before the first statistic is made.
    log_files: each file that an access log goes to, and the problem that it is if it can't be opened.
    overload: what is done against overload; None: nothing.
    dns_resolver, tracing_provider: for the clusters and connection managers that name none.
    internal_buffer: bytes between internal listeners and who connects to them, None: the bootstrap has no such ones.
    has_ads: whether the bootstrap has `ads_config`. surroundings: what expressions see beside the stream; the formats
        have the same.
    node, runtime, cluster_manager, cluster_names, secrets (name -> `config.tls_secrets.Secret`): found in the bootstrap
        itself, before anything that needs them is compiled. cluster_names is kept up to date as clusters come and go.
    own_clusters: of services that are named by their address; compile_own_cluster: makes one from its message.
    """

    registry: FilterRegistry
    stats: StatsScope
    make_logger: Callable[[str], Logger]
    clock: Clock
    rng: random.Random
    formats: FormatCompiler
    format_extensions: Mapping[str, FormatExtensionCompiler] = field(default_factory=dict)
    transport_sockets: Mapping[str, TransportSocketCompiler] = field(default_factory=dict)
    configure_stats: Callable[[StatsConfig], object] = lambda config: None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    node: Node = field(default_factory=Node)
    runtime: RuntimeValues = field(default_factory=RuntimeValues)
    cluster_manager: ClusterManagerConfig = field(default_factory=ClusterManagerConfig)
    cluster_names: set[str] = field(default_factory=set)
    own_clusters: dict[str, ClusterConfig] = field(default_factory=dict)
    compile_own_cluster: Callable[[Any, CompileContext], ClusterConfig] = _no_cluster
    overload: OverloadConfig | None = None
    dns_resolver: DnsResolverOptions = field(default_factory=DnsResolverOptions)
    tracing_provider: ConfigView | None = None
    internal_buffer: int | None = None
    has_ads: bool = False
    surroundings: Surroundings = field(default_factory=Surroundings)
    secrets: Mapping[str, Any] = field(default_factory=dict)
    traffic_direction: str = "UNSPECIFIED"
    scheme_of_upstream: bool = False
    shared_objects: dict[Hashable, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    log_files: dict[str, Problem] = field(default_factory=dict)
