"""Which class implements which filter, by the full name of its configuration message.

Filters are found through the entry points of the installed distributions (group `meshproxy.filters`): the name is the
message's full name, such as `envoy.extensions.filters.http.fault.v3.HTTPFault`, or for a filter that is configured
with a `TypedStruct` the name inside of it; the value is the class. Built-in filters stand there like anyone else's. A
class is imported when a configuration first names it, so that a filter nobody uses costs nothing.

What stands in a filter's `name:` plays no part in finding it, as in Envoy. Where filters of two kinds have the same
message, the entry of one is named with its kind before it: `network/stats.PluginConfig`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from meshproxy.errors import ConfigError, Problem
from meshproxy.plugin.entry_points import EntryPoint, entry_points
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.listener import ListenerFilter
from meshproxy.plugin.network import NetworkFilter
from meshproxy.suggest import unsupported_extension

GROUP = "meshproxy.filters"

FilterClass = type[HttpFilter[Any]] | type[NetworkFilter[Any]] | type[ListenerFilter[Any]]

KINDS: Mapping[str, type[Any]] = {"HTTP": HttpFilter, "network": NetworkFilter, "listener": ListenerFilter}


class UnknownFilter(LookupError):
    """Nothing is installed under this name, or it can't be used here. The text says what to do."""


class FilterRegistry:
    """Filter classes by name. Immutable: `with_classes` makes another one."""

    def __init__(self, entries: Iterable[tuple[str, EntryPoint | FilterClass]] = ()) -> None:
        """Raises ConfigError when a name stands twice for different classes."""
        self._entries: dict[str, EntryPoint | FilterClass] = {}
        problems = []
        for name, entry in entries:
            known = self._entries.setdefault(name, entry)
            if known is not entry and _described(known) != _described(entry):
                problems.append(
                    Problem("", f"filter '{name}' is installed twice: {_described(known)} and {_described(entry)}")
                )
        if problems:
            raise ConfigError(problems)

    @classmethod
    def discover(cls) -> FilterRegistry:
        """Every filter that the installed distributions declare. Imports none. Raises ConfigError for duplicates."""
        return cls((entry.name, entry) for entry in entry_points(GROUP))

    @classmethod
    def of(cls, *classes: FilterClass, name: str = "") -> FilterRegistry:
        """A registry of just these classes; each under `name`, or else under its own `__name__`."""
        return cls((name or filter_class.__name__, filter_class) for filter_class in classes)

    def with_classes(self, classes: Mapping[str, FilterClass]) -> FilterRegistry:
        """This registry and these classes. Raises ConfigError for duplicates."""
        return FilterRegistry([*self._entries.items(), *classes.items()])

    def without(self, names: Iterable[str]) -> FilterRegistry:
        """This registry without the named filters (`--disable-extensions`).

        names: full names of messages, or Envoy's names with their category or without it, such as
        `envoy.filters.http/envoy.filters.http.fault`. Names of nothing installed are passed over.
        """
        gone = {name.rpartition("/")[2] for name in names}
        if not gone:
            return self
        return FilterRegistry(
            (name, entry) for name, entry in self._entries.items() if name not in gone and short_name(name) not in gone
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._entries))

    def find(self, full_name: str, kind: str) -> FilterClass:
        """The class for a configuration message, imported if need be.

        kind: "HTTP", "network" or "listener": where it is to be used. Raises UnknownFilter.
        """
        name = f"{kind}/{full_name}"
        if name not in self._entries:
            name = full_name
        entry = self._entries.get(name)
        if entry is None:
            raise UnknownFilter(unsupported_extension(full_name, self._entries))
        filter_class = self._load(name, entry)
        if not issubclass(filter_class, KINDS[kind]):
            raise UnknownFilter(
                f"'{full_name}' is a {kind_of(filter_class)} filter and can't stand among {kind} filters"
            )
        return filter_class

    def _load(self, name: str, entry: EntryPoint | FilterClass) -> FilterClass:
        if not isinstance(entry, EntryPoint):
            return entry
        try:
            loaded: Any = entry.load()
        except Exception as error:  # someone else's module: whatever it raises at import, the configuration names it
            reason = f"{type(error).__name__}: {error}"
            raise UnknownFilter(f"filter '{name}' ({entry.value}) can't be imported: {reason}") from error
        if not isinstance(loaded, type) or not issubclass(loaded, tuple(KINDS.values())):
            raise UnknownFilter(f"filter '{name}': {entry.value} is no HttpFilter, NetworkFilter or ListenerFilter")
        filter_class = cast(FilterClass, loaded)
        self._entries[name] = filter_class
        return filter_class


def kind_of(filter_class: type[Any]) -> str:
    """Where a filter belongs: "HTTP", "network" or "listener"."""
    return next(kind for kind, base in KINDS.items() if issubclass(filter_class, base))


def short_name(full_name: str) -> str:
    """Envoy's name of an extension by its message: `envoy.extensions.filters.http.fault.v3.HTTPFault` is
    `envoy.filters.http.fault`."""
    parts = full_name.split(".")
    if parts[:3] != ["envoy", "extensions", "filters"] or len(parts) < 6:
        return full_name
    return ".".join(["envoy", *parts[2:-2]])


def _described(entry: EntryPoint | FilterClass) -> str:
    if isinstance(entry, EntryPoint):
        distribution = f" of {entry.distribution}" if entry.distribution else ""
        return f"{entry.value}{distribution}"
    return f"{entry.__module__}:{entry.__qualname__}"
