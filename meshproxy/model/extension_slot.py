"""Where a filter stands whose configuration discovery gives (`config_discovery`), and how it gets the next one.

The filter's place in its chain is fixed; what stands there is replaced as a whole, and who uses the slot is told. What
has begun with one configuration ends with it. As long as there is none, requests and connections that come to the
place are refused.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from meshproxy.model.discovery import ConfigSource
from meshproxy.model.listener import FilterSpec


class ExtensionSlot:
    """One slot.

    kind: "HTTP", "network" or "listener". classes: of the filters that may come, by the types that are allowed.
    at_once: the default is good enough to begin with. default: in force when nothing else is; spec: what is in force.
    last: whether the filter is the last of its chain; None for listener filters, where that is no matter.
    compile: from a view of a `TypedExtensionConfig` to what may stand here. Raises ConfigError.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        source: ConfigSource,
        classes: Sequence[type[Any]],
        compile: Callable[[Any], FilterSpec],
        *,
        at_once: bool,
    ) -> None:
        self.name = name
        self.kind = kind
        self.source = source
        self.classes = tuple(classes)
        self.compile = compile
        self.at_once = at_once
        self.last: bool | None = None
        self.default: FilterSpec | None = None
        self.spec: FilterSpec | None = None
        self._users: weakref.WeakSet[Any] = weakref.WeakSet()

    def attach(self, user: Any) -> None:
        """`user.use_filters()` is called after every change, as long as the user lives."""
        self._users.add(user)

    def set(self, spec: FilterSpec | None) -> None:
        """What is in force from now on; None: nothing has come, or it is gone, so that the default is."""
        self.spec = spec or self.default
        for user in list(self._users):
            user.use_filters()


class RouteOverride:
    """What a route says about the filter in a slot; it holds for filters of one class."""

    __slots__ = ("config", "filter_class")

    def __init__(self, filter_class: type[Any], config: Any) -> None:
        self.filter_class = filter_class
        self.config = config
