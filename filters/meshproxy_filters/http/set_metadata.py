"""`envoy.filters.http.set_metadata`: gives each request the dynamic metadata that the configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.stats import Counter
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


@dataclass(frozen=True, slots=True)
class Entry:
    """What one namespace gets. overwrite: also when the namespace has something already."""

    namespace: str
    overwrite: bool
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class SetMetadataConfig:
    """overwrite_denied: counts entries that were left out because their namespace had something already."""

    entries: tuple[Entry, ...]
    overwrite_denied: Counter


class SetMetadata(HttpFilter[SetMetadataConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> SetMetadataConfig:
        entries = []
        old = view.struct("value")
        namespace = view.text("metadata_namespace")
        if namespace and old is not None:
            entries.append(Entry(namespace, True, old.value))
        for each in view.views("metadata"):
            if each.has("typed_value"):
                each.fail("metadata of a protobuf type isn't supported by meshproxy", "typed_value")
            value = each.struct("value")
            namespace, overwrites = each.text("metadata_namespace"), each.boolean("allow_overwrite")
            if value is not None:
                entries.append(Entry(namespace, overwrites, value.value))
        return SetMetadataConfig(tuple(entries), context.stats.counter("set_metadata.overwrite_denied"))

    @classmethod
    def is_active(cls, config: SetMetadataConfig) -> bool:
        return bool(config.entries)

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        for entry in self.config.entries:
            known = stream.dynamic_metadata
            if known and entry.namespace in known and not entry.overwrite:
                self.config.overwrite_denied.value += 1
            else:
                merge(stream.metadata(entry.namespace), entry.value)


def merge(target: dict[str, Any], value: Mapping[str, Any]) -> None:
    """Put `value` into `target`: objects are merged, lists are joined, everything else is replaced."""
    for key, new in value.items():
        old = target.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            merge(old, new)
        elif isinstance(old, list) and isinstance(new, list):
            target[key] = old + deepcopy(new)
        else:
            target[key] = deepcopy(new)  # it is the configuration's, and other filters may change what a stream has
