"""Layers of the runtime from discovery (RTDS): one subscription for each `rtds_layer`, and disk layers that move.

What a layer says holds until the next says something else, or it is taken away; one that is refused changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from meshproxy.config.bootstrap.runtime_layers import layer_of
from meshproxy.errors import ConfigError
from meshproxy.model.discovery import RUNTIME, Resource
from meshproxy.model.runtime_layer import RuntimeLayer
from meshproxy.runtime.discovery.watch import Hub, Watch
from meshproxy.runtime.process.layered_runtime import LayeredRuntime


class RuntimeDiscovery:
    """All layers that change by themselves."""

    def __init__(self, hub: Hub, runtime: LayeredRuntime) -> None:
        self._hub = hub
        self._runtime = runtime
        self._waiting: list[Watch] = []
        self._links: set[str] = set()

    def start(self, when_settled: Callable[[], object]) -> None:
        """Begin; call back, maybe at once, when every RTDS layer came or isn't waited for any more."""
        hub = self._hub
        self._watch_links()
        for layer in self._runtime.layers:
            if layer.kind == "rtds":
                assert layer.source is not None
                scope = hub.host.stats.scope("runtime.")
                apply = partial(self._apply, layer)
                self._waiting.append(Watch(hub, RUNTIME, layer.source, (layer.resource,), scope, apply))
        if not self._waiting:
            when_settled()
            return
        for watch in list(self._waiting):
            watch.when_settled(partial(self._settled, watch, when_settled))
            watch.start()

    def _watch_links(self) -> None:
        for layer in self._runtime.layers:
            if layer.kind == "disk" and layer.link not in self._links:
                self._links.add(layer.link)
                self._hub.sources.watch_file(layer.link, self._runtime.load)

    def use(self, layers: Sequence[RuntimeLayer]) -> bool:
        """Let these be the layers from now on. Returns False, and does nothing, where that takes a restart: others come
        by discovery, or there were none, and so nothing follows them."""
        before = self._runtime.layers
        if list(layers) == list(before):
            return True
        discovered, discovered_before = ([each for each in some if each.kind == "rtds"] for some in (layers, before))
        if not before or not layers or discovered != discovered_before:
            return False
        self._runtime.use(layers)
        self._watch_links()
        return True

    def _settled(self, watch: Watch, tell: Callable[[], object]) -> None:
        self._waiting.remove(watch)
        if not self._waiting:
            tell()

    def missing(self) -> list[str]:
        """What is waited for, in words."""
        return [f"waiting for the runtime layer '{watch.names[0]}' (RTDS)" for watch in self._waiting]

    def _apply(
        self, layer: RuntimeLayer, added: Sequence[Resource], removed: Sequence[str], full: bool, version: str
    ) -> Mapping[str, str]:
        name = layer.resource
        if len(added) + len(removed) != 1:
            return {
                name: f"Unexpected RTDS resource length, number of added resources {len(added)}, "
                f"number of removed resources {len(removed)}"
            }
        if removed:
            self._runtime.discovered(layer.name, {})
            return {}
        try:
            entries = layer_of(added[0])
        except ConfigError as error:
            return {name: str(error)}
        self._runtime.discovered(layer.name, entries)
        return {}
