"""Statistics that are always shown, at zero until somebody counts them.

Theory: Envoy shows some hundred statistics for every cluster, whether they can ever move or not. A proxy may know
thousands of clusters, so what is only shown is no object: who would have made the objects declares that their names
stand below a prefix, and the names are one shared `StatNames`. They become names of statistics in `expand`, when
somebody looks, and a statistic that really exists hides the declared one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from meshproxy.plugin.stats import StatNames
from meshproxy.steps import Steps, batched

Declarations = Mapping[StatNames, Sequence[str]]
"""The prefixes below which names stand."""


class Declared:
    """What one store has been told to show. accepts: whether a name is kept (`stats_matcher`)."""

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self._accepts = accepts
        self._names: dict[str, tuple[StatNames, ...]] = {}
        self._checked: dict[str, tuple[StatNames, ...]] = {}

    def add(self, prefix: str, names: StatNames) -> None:
        """Show `names` below `prefix`."""
        before = self._names.get(prefix, ())
        if names not in before:
            self._names[prefix] = (*before, names)
            self._checked.pop(prefix, None)

    def remove(self, prefix: str) -> list[str]:
        """Show nothing below `prefix` any more. Returns what was shown, in full."""
        self._checked.pop(prefix, None)
        return [prefix + name for names in self._names.pop(prefix, ()) for name in _all(names)]

    def covers(self, name: str) -> bool:
        """Whether a name is shown in any case."""
        dot = name.find(".")
        while dot >= 0:
            declared = self._names.get(name[: dot + 1])
            if declared is not None and any(name[dot + 1 :] in _all(names) for names in declared):
                return True
            dot = name.find(".", dot + 1)
        return False

    def snapshot(self) -> Steps[dict[StatNames, list[str]]]:
        """Everything that is accepted."""
        found: dict[StatNames, list[str]] = {}
        for part in batched(self._names.items(), 100):
            for prefix, declared in part:
                checked = self._checked.get(prefix)
                if checked is None:
                    checked = self._checked[prefix] = tuple(self._accepted(prefix, names) for names in declared)
                for names in checked:
                    found.setdefault(names, []).append(prefix)
            yield
        return found

    def _accepted(self, prefix: str, names: StatNames) -> StatNames:
        accepts = self._accepts
        left = StatNames(
            *(
                tuple(name for name in kind if accepts(prefix + name))
                for kind in (names.counters, names.gauges, names.histograms)
            )
        )
        return names if left == names else left  # one object for all who want all of them


@cache
def _all(names: StatNames) -> frozenset[str]:
    return frozenset((*names.counters, *names.gauges, *names.histograms))


def join(all_declarations: Sequence[Declarations]) -> dict[StatNames, list[str]]:
    """The declarations of several processes as those of one."""
    joined: dict[StatNames, dict[str, None]] = {}
    for declarations in all_declarations:
        for names, prefixes in declarations.items():
            joined.setdefault(names, {}).update(dict.fromkeys(prefixes))
    return {names: list(prefixes) for names, prefixes in joined.items()}
