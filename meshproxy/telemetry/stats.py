"""Statistics of one process: counters, gauges, histograms and text readouts by name, and snapshots of them all.

Theory: a statistic is an object with a slot. Whoever counts holds the object, so counting looks nothing up; the store
is asked only when handles are made and when somebody reads. What is read is always a `StatsSnapshot`, plain data that
can be sent from a worker to its parent and merged there, so that one process and many are shown by the same code.

Invariants:
- one name, one object, as long as any scope holds it;
- a name that the configuration's matcher rejects gives an object that counts, but that nobody ever reads;
- a scope that is closed takes with it the names that no other scope holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Literal

from meshproxy.plugin.stats import StatNames
from meshproxy.records import dataclass
from meshproxy.steps import Steps, batched, finish
from meshproxy.telemetry.declared import Declarations, Declared, join
from meshproxy.telemetry.histogram import DEFAULT_BOUNDS, Histogram
from meshproxy.telemetry.used_gauges import is_used

ImportMode = Literal["sum", "max", "first"]


class Counter:
    """A number that only rises. `used` says that it wasn't always 0, as far as that was noted."""

    __slots__ = ("name", "used", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = 0
        self.used = False

    def inc(self) -> None:
        self.value += 1

    def add(self, amount: int) -> None:
        self.value += amount


class Gauge:
    """A number that rises and falls.

    mode: how the gauges of several processes become one: their sum, their largest, or the first process's.
    used: that it wasn't always 0, where that is noted (see `used_gauges`).
    """

    __slots__ = ("mode", "name", "used", "value")

    def __init__(self, name: str, mode: ImportMode = "sum") -> None:
        self.name = name
        self.mode = mode
        self.value = 0
        self.used = False

    def set(self, value: int) -> None:
        self.value = value
        self.used = True

    def inc(self) -> None:
        self.value += 1
        self.used = True

    def dec(self) -> None:
        self.value -= 1

    def add(self, amount: int) -> None:
        self.value += amount
        self.used = True

    def sub(self, amount: int) -> None:
        self.value -= amount


class TextReadout:
    """A text, such as the version of a configuration."""

    __slots__ = ("name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = ""

    def set(self, value: str) -> None:
        self.value = value


@dataclass(slots=True)
class HistogramData:
    """Bins of the last interval and of all time (see `histogram`), and the bounds they are shown with."""

    interval: dict[int, int]
    cumulative: dict[int, int]
    bounds: tuple[float, ...] = DEFAULT_BOUNDS


@dataclass(slots=True)
class StatsSnapshot:
    """Every statistic at one moment, by name. counters: (value, used); gauges: (value, used, import mode).

    declared: what else is there, at zero (see `declared`).
    """

    counters: dict[str, tuple[int, bool]] = field(default_factory=dict)
    gauges: dict[str, tuple[int, bool, ImportMode]] = field(default_factory=dict)
    histograms: dict[str, HistogramData] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    declared: Declarations = field(default_factory=dict)

    @property
    def size(self) -> int:
        """About how many statistics there are."""
        declared = sum(
            len(prefixes) * (len(names.counters) + len(names.gauges) + len(names.histograms))
            for names, prefixes in self.declared.items()
        )
        return len(self.counters) + len(self.gauges) + len(self.histograms) + declared


def _accept_all(name: str) -> bool:
    return True


def _default_bounds(name: str) -> tuple[float, ...]:
    return DEFAULT_BOUNDS


class StatsStore:
    """All statistics of the process.

    accepts: whether a name is kept (`stats_matcher`). bounds_for: the bucket bounds of a histogram
    (`histogram_bucket_settings`). tell_samples: is given the values of a histogram when an interval of it ends.
    """

    def __init__(
        self,
        accepts: Callable[[str], bool] = _accept_all,
        bounds_for: Callable[[str], tuple[float, ...]] = _default_bounds,
    ) -> None:
        self._accepts = accepts
        self._bounds_for = bounds_for
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._texts: dict[str, TextReadout] = {}
        self._holders: dict[str, int] = {}
        self._root = Scope(self, "")
        # Ordered sets: who registered goes again with its scope.
        self._folds: dict[Callable[[], None], None] = {}
        self._before_latch: dict[Callable[[], None], None] = {}
        self._declared = Declared(accepts)
        self.tell_samples: Callable[[str, Mapping[float, int]], None] | None = None

    def sibling(self) -> StatsStore:
        """An empty store that keeps the same names and bounds: for a process beside this one."""
        return StatsStore(self._accepts, self._bounds_for)

    def counter(self, name: str) -> Counter:
        return self._root.counter(name)

    def gauge(self, name: str, mode: ImportMode = "sum") -> Gauge:
        return self._root.gauge(name, mode)

    def histogram(self, name: str) -> Histogram:
        return self._root.histogram(name)

    def text_readout(self, name: str) -> TextReadout:
        return self._root.text_readout(name)

    def scope(self, prefix: str) -> Scope:
        return self._root.scope(prefix)

    def before_read(self, fold: Callable[[], None]) -> None:
        """Call `fold` before anything is read or reset.

        For whoever counts in one place on the path of a request what is spread over several statistics when looked at.
        """
        self._folds[fold] = None

    def before_latch(self, fold: Callable[[], None]) -> None:
        """Call `fold` before an interval of the histograms ends: for who notes values elsewhere meanwhile."""
        self._before_latch[fold] = None

    def fold(self) -> None:
        """Bring every statistic up to date."""
        for fold in list(self._folds):
            fold()

    def latch(self) -> None:
        """End an interval of every histogram."""
        for fold in list(self._before_latch):
            fold()
        tell = self.tell_samples
        for histogram in self._histograms.values():
            if tell is not None and (recorded := histogram.recorded()):
                tell(histogram.name, recorded)
            histogram.latch()

    def reset_counters(self) -> None:
        """Set every counter to 0 and forget what the histograms hold, as `/reset_counters` does."""
        self.fold()
        for counter in self._counters.values():
            counter.used = counter.used or counter.value != 0
            counter.value = 0
        self.latch()
        for histogram in self._histograms.values():
            histogram.interval, histogram.cumulative = {}, {}

    def snapshot(self) -> StatsSnapshot:
        """Plain data of everything."""
        return finish(self.snapshot_in_steps())

    def snapshot_in_steps(self) -> Steps[StatsSnapshot]:
        """The same for a loop that carries traffic: of thousands of clusters there are a hundred thousand.

        What moves between two steps is told as it is at one of them.
        """
        for part in batched(self._folds):
            for fold in part:
                fold()
            yield
        found = StatsSnapshot(declared=(yield from self._declared.snapshot()))
        for counters in batched(self._counters.items()):
            found.counters.update({name: (c.value, c.used or c.value != 0) for name, c in counters})
            yield
        for gauges in batched(self._gauges.items()):
            found.gauges.update(
                {name: (g.value, g.value != 0 or is_used(name, g.used, found.counters), g.mode) for name, g in gauges}
            )
            yield
        for histograms in batched(self._histograms.items()):
            found.histograms.update(
                {name: HistogramData(dict(h.interval), dict(h.cumulative), h.bounds) for name, h in histograms}
            )
            yield
        found.texts.update({name: text.value for name, text in self._texts.items()})
        return found

    def _find(self, kind: str, name: str, make: Callable[[str], object], held: set[str]) -> object:
        table: dict[str, object] = getattr(self, kind)
        stat = table.get(name)
        if stat is None:
            stat = make(name)
            if not self._accepts(name):
                return stat
            table[name] = stat
        if name not in held:
            held.add(name)
            self._holders[name] = self._holders.get(name, 0) + 1
        return stat

    def _release(self, names: Iterable[str]) -> None:
        """Nobody holds these any more, or one fewer. What is still declared keeps its value, for whoever counts next:
        a cluster that takes another's place goes on with its numbers (as in Envoy)."""
        for name in names:
            self._holders[name] -= 1
            if self._holders[name]:
                continue
            del self._holders[name]
            if name.endswith("."):
                for shown in self._declared.remove(name):
                    if shown not in self._holders:
                        self._forget(shown)
            elif not self._declared.covers(name):
                self._forget(name)

    def _forget(self, name: str) -> None:
        for table in (self._counters, self._gauges, self._histograms, self._texts):
            table.pop(name, None)

    def _declare(self, prefix: str, names: StatNames, held: set[str]) -> None:
        self._declared.add(prefix, names)
        if prefix not in held:
            held.add(prefix)
            self._holders[prefix] = self._holders.get(prefix, 0) + 1


class Scope:
    """Statistics whose names begin with `prefix`; ends with "." unless it is empty."""

    __slots__ = ("_children", "_folds", "_held", "_parent", "_store", "prefix")

    def __init__(self, store: StatsStore, prefix: str, parent: Scope | None = None) -> None:
        self._store = store
        self._parent = parent
        self._held: set[str] = set()
        self._children: dict[Scope, None] = {}
        self._folds: list[Callable[[], None]] = []
        self.prefix = prefix

    def counter(self, name: str) -> Counter:
        stat = self._store._find("_counters", self.prefix + name, Counter, self._held)
        assert isinstance(stat, Counter)
        return stat

    def gauge(self, name: str, mode: ImportMode = "sum") -> Gauge:
        stat = self._store._find("_gauges", self.prefix + name, lambda full: Gauge(full, mode), self._held)
        assert isinstance(stat, Gauge)
        return stat

    def histogram(self, name: str) -> Histogram:
        bounds_for = self._store._bounds_for
        stat = self._store._find(
            "_histograms", self.prefix + name, lambda full: Histogram(full, bounds_for(full)), self._held
        )
        assert isinstance(stat, Histogram)
        return stat

    def text_readout(self, name: str) -> TextReadout:
        stat = self._store._find("_texts", self.prefix + name, TextReadout, self._held)
        assert isinstance(stat, TextReadout)
        return stat

    def before_read(self, fold: Callable[[], None]) -> None:
        """See `StatsStore.before_read`; ends with the scope."""
        self._folds.append(fold)
        self._store.before_read(fold)

    def before_latch(self, fold: Callable[[], None]) -> None:
        """See `StatsStore.before_latch`; ends with the scope."""
        self._folds.append(fold)
        self._store.before_latch(fold)

    def declare(self, names: StatNames) -> None:
        """Show `names` below this scope's prefix, at zero as long as nobody counts them; costs no object for each."""
        self._store._declare(self.prefix, names, self._held)

    def scope(self, prefix: str) -> Scope:
        child = Scope(self._store, self.prefix + prefix, self)
        self._children[child] = None
        return child

    def close(self) -> None:
        """Give up the names of this scope and of the scopes made from it, and whatever is called before a read."""
        if self._parent is not None:
            self._parent._children.pop(self, None)
        for fold in self._folds:
            if fold in self._store._folds:
                fold()
        for child in list(self._children):
            child.close()
        self._children.clear()
        for fold in self._folds:
            self._store._folds.pop(fold, None)
            self._store._before_latch.pop(fold, None)
        self._folds.clear()
        self._store._release(self._held)
        self._held.clear()


def merge(snapshots: Sequence[StatsSnapshot]) -> StatsSnapshot:
    """The statistics of several processes as those of one."""
    merged = StatsSnapshot()
    for snapshot in snapshots:
        for name, (value, used) in snapshot.counters.items():
            before, was_used = merged.counters.get(name, (0, False))
            merged.counters[name] = (before + value, was_used or used)
        for name, (value, used, mode) in snapshot.gauges.items():
            if name in merged.gauges:
                before, was_used, _ = merged.gauges[name]
                value = before + value if mode == "sum" else max(before, value) if mode == "max" else before
                used = used or was_used
            merged.gauges[name] = (value, used, mode)
        for name, data in snapshot.histograms.items():
            target = merged.histograms.setdefault(name, HistogramData({}, {}, data.bounds))
            for into, bins in ((target.interval, data.interval), (target.cumulative, data.cumulative)):
                for index, count in bins.items():
                    into[index] = into.get(index, 0) + count
        for name, text in snapshot.texts.items():
            merged.texts.setdefault(name, text)
    merged.declared = join([snapshot.declared for snapshot in snapshots])
    for table in (merged.counters, merged.gauges, merged.histograms, merged.texts):
        ordered = sorted(table.items())
        table.clear()
        table.update(ordered)  # type: ignore[arg-type]  # a union of dictionaries
    return merged
