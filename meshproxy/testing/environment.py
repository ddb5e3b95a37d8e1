"""What the harnesses have in common: time, statistics, the log, and a filter compiled as the program compiles it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from meshproxy.cel.surroundings import Surroundings
from meshproxy.config.http.filters import compile_filter, compile_filter_level, factory_context
from meshproxy.config.text.bootstrap_load import Source, load_message
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError
from meshproxy.model.listener import AccessLog, FilterSpec
from meshproxy.model.route import FILTER_DISABLED
from meshproxy.model.snapshot import Node
from meshproxy.plugin.entry_points import entry_points
from meshproxy.plugin.registry import GROUP, FilterClass, FilterRegistry, kind_of
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.view import ConfigView
from meshproxy.records import dataclass
from meshproxy.runtime_values import RuntimeValues
from meshproxy.telemetry.formats import Formats
from meshproxy.telemetry.operand import FormatContext
from meshproxy.telemetry.stats import StatsStore
from meshproxy.testing.clusters import ScriptedCluster, ScriptedClusters
from meshproxy.testing.loop import SteppedClock

_TYPED_STRUCT = "xds.type.v3.TypedStruct"
_HOLDERS = {
    "HTTP": "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    "network": "envoy.config.listener.v3.Filter",
    "listener": "envoy.config.listener.v3.ListenerFilter",
}


@dataclass(slots=True)
class RecordingLog:
    """A log that keeps its events: (level, event, fields)."""

    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def debug(self, event: str, **fields: Any) -> None:
        self.events.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.events.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.events.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.events.append(("error", event, fields))


@dataclass(slots=True)
class Server:
    """What an operator has told the process; a test may change it."""

    health_failed: bool = False
    draining: bool = False


class Environment:
    """Base of the harnesses.

    clock: stands still until `advance(seconds)`. log: what filters logged. rng: seeded; a test may replace its seed.
    runtime: of a mapping the values never change; a test that changes them gives `RuntimeValues`.
    server: `/healthcheck/fail` and draining, to be set by a test. access_log: lines written by `log_access`.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        runtime: Mapping[str, Any] | None = None,
        node: Node | None = None,
        traffic_direction: str = "UNSPECIFIED",
        clusters: Iterable[str] = (),
    ) -> None:
        self.clock = SteppedClock()
        self.loop = self.clock.loop
        self.log = RecordingLog()
        self.rng = random.Random(seed)
        self.server = Server()
        self.access_log: list[str] = []
        self._store = StatsStore()
        self._clusters = ScriptedClusters(self.loop, self._store.scope(""))
        node = node or Node("test-node", "test-cluster")
        surroundings = Surroundings(node)
        self._installed = FilterRegistry.discover()
        self._context = CompileContext(
            registry=self._installed,
            stats=self._store.scope(""),
            make_logger=lambda name: self.log,
            clock=self.clock,
            rng=self.rng,
            formats=Formats(FormatContext(hostname="test-host", surroundings=surroundings)),
            surroundings=surroundings,
            node=node,
            runtime=runtime if isinstance(runtime, RuntimeValues) else RuntimeValues(runtime, fixed=True),
            traffic_direction=traffic_direction,
            cluster_names=set(clusters),
        )

    def cluster(self, name: str) -> ScriptedCluster:
        """The cluster of this name, to be told what to answer; clusters nobody asked for don't exist."""
        return self._clusters.ensure(name)

    @property
    def stats(self) -> dict[str, int]:
        """Every counter and gauge that isn't 0, by full name."""
        snapshot = self._store.snapshot()
        values = {name: value for name, (value, _) in snapshot.counters.items()}
        values |= {name: value for name, (value, _, _) in snapshot.gauges.items()}
        return {name: value for name, value in values.items() if value}

    def write_access_log(self, logs: tuple[AccessLog, ...], info: StreamInfo) -> None:
        """What `Connection.log_access` comes down to."""
        for log in logs:
            if log.predicate is None or log.predicate(info):
                self.access_log.append(log.format_line(info).rstrip("\n"))

    # Compiling.

    def compile(self, filter_class: FilterClass, config: Any, scope: StatsScope, name: str = "") -> FilterSpec:
        """A filter with its configuration, compiled by the program's own code.

        config: an object, which only `compile_struct` sees; or a dict, as it would stand in YAML. A dict is read into
        `config_type`, or into the message that the class is registered for, or into the one that its "@type" names.
        Raises ConfigError, also for fields that nothing read.
        """
        name = name or filter_class.__name__
        if not isinstance(config, dict):
            context = factory_context(name, scope, self._context)
            return FilterSpec(name, filter_class, filter_class.compile_struct(config, context), context)
        kind = kind_of(filter_class)
        message = str(config.get("@type") or _registered_name(filter_class) or filter_class.__name__).rpartition("/")[2]
        self._context.registry = self._installed.without((message,)).with_classes({message: filter_class})
        value = {key: item for key, item in config.items() if key != "@type"}
        typed = _typed(message, value, as_struct=filter_class.config_type is not None and "@type" not in config)
        view = _view(_HOLDERS[kind], {"name": name, "typed_config": typed})
        spec = compile_filter(view, kind, scope, self._context)
        _check_read(view)
        return spec

    def compile_route(self, spec: FilterSpec, config: Any) -> Any:
        """What a route's `typed_per_filter_config` says about a filter: an object, or a dict as in YAML.

        A dict needs an "@type" unless the filter is configured with a TypedStruct. Raises ConfigError.
        """
        if not isinstance(config, dict):
            return config if config is FILTER_DISABLED else spec.filter_class.compile_struct(config, spec.context)
        value = {key: item for key, item in config.items() if key != "@type"}
        message = str(config.get("@type", "")).rpartition("/")[2]
        typed = _typed(message or spec.filter_class.__name__, value, as_struct=not message)
        holder = {"name": "test", "domains": ["*"], "typed_per_filter_config": {spec.name: typed}}
        view = _view("envoy.config.route.v3.VirtualHost", holder)
        for field_name in ("name", "domains"):
            view.has(field_name)
        self._context.problems.clear()
        level = compile_filter_level(view, {spec.name: spec}, self._context)
        if self._context.problems:
            raise ConfigError(self._context.problems)
        return level[spec.name]


def _typed(message: str, value: dict[str, Any], *, as_struct: bool) -> dict[str, Any]:
    if as_struct:
        return {"@type": f"type.googleapis.com/{_TYPED_STRUCT}", "type_url": message, "value": value}
    return {"@type": f"type.googleapis.com/{message}", **value}


def _view(message: str, value: dict[str, Any]) -> ConfigView:
    return load_message(message, [Source("test", json.dumps(value), json=True)]).view


def _check_read(view: ConfigView) -> None:
    problems = view.unread_problems()
    if problems:
        raise ConfigError(problems)


def _registered_name(filter_class: type[Any]) -> str:
    """The message that the class is installed for; "" if it isn't."""
    place = f"{filter_class.__module__}:{filter_class.__qualname__}"
    return next((entry.name for entry in entry_points(GROUP) if entry.value == place), "")
