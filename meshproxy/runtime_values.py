"""The runtime: values that an operator changes while the program runs, and what of the configuration follows them.

Envoy's runtime is a flat mapping of dotted keys. A configured number, flag or share may name a key whose value, while
there is one, stands in for it. Here such a thing is compiled to an object that already holds what counts now (`Live`,
`RuntimeShare`); when the values change, all of these objects are settled anew, so that whoever reads them pays an
attribute and no look-up, and connections that are open see the change.

Invariants: the objects of a configuration that is gone are gone too (they are only held weakly here). Where nothing
can change the values (`fixed`), a share is the plain `FractionalPercent` that everything was built for.

What a value means follows Envoy's `Runtime::SnapshotImpl`: a number is a flag (0 or not), an integer (rounded down,
none below 0), a float and a share (per cent, above 100: always); a mapping is a share only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

from meshproxy.matching import FractionalPercent


class Follower(Protocol):
    """What can follow the values: hashed by identity, and held weakly."""

    def settle(self, values: Mapping[str, Any]) -> None:
        """These are in force from now on."""


T = TypeVar("T")
F = TypeVar("F", bound=Follower)
DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
"""Of `type.v3.FractionalPercent.DenominatorType`."""

_ALWAYS = FractionalPercent(100)
_MAX_FLAG = 2**31 - 1
_MAX_INTEGER = 2**64 - 1


def as_number(value: Any, default: float) -> float:
    """What a runtime value says as a float."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def as_integer(value: Any, default: int) -> int:
    """What a runtime value says as an unsigned integer."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_INTEGER:
        return default
    return int(value)


def as_flag(value: Any, default: bool) -> bool:
    """What a runtime value says as a flag."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and -_MAX_FLAG <= value < _MAX_FLAG and value == int(value):
        return value != 0
    return default


def as_share(value: Any, default: FractionalPercent) -> FractionalPercent:
    """What a runtime value says as a share."""
    if isinstance(value, Mapping):
        if not value.keys() <= {"numerator", "denominator"}:
            return default
        denominator = DENOMINATORS.get(str(value.get("denominator", "HUNDRED")))
        return default if denominator is None else FractionalPercent(as_integer(value.get("numerator"), 0), denominator)
    percent = as_integer(value, -1)
    if percent < 0:
        return default
    return FractionalPercent(percent) if percent <= 100 else _ALWAYS


def as_numerator(value: Any, default: FractionalPercent) -> FractionalPercent:
    """What a runtime value says as a share, where it only stands for the numerator of the configured one."""
    return FractionalPercent(as_integer(value, default.numerator), default.denominator)


class Live(Generic[T]):
    """A configured value that follows a key. value: the one that counts now. changed: called when it is another."""

    __slots__ = ("__weakref__", "_convert", "_default", "_key", "changed", "value")

    def __init__(self, key: str, default: T, convert: Callable[[Any, T], T]) -> None:
        self._key = key
        self._default = default
        self._convert = convert
        self.value = default
        self.changed: Callable[[], object] | None = None

    def settle(self, values: Mapping[str, Any]) -> None:
        """Take what counts from now on."""
        value = self._convert(values.get(self._key), self._default)
        if value != self.value:
            self.value = value
            if self.changed is not None:
                self.changed()


def constant(value: T) -> Live[T]:
    """What follows no key."""
    return Live("", value, lambda found, default: default)


ON = constant(True)
"""A flag that nobody has configured."""


class RuntimeShare:
    """A `FractionalPercent` that follows a key."""

    __slots__ = ("__weakref__", "_convert", "_default", "_key", "_limit", "denominator", "numerator")

    def __init__(
        self, key: str, default: FractionalPercent, convert: Callable[[Any, FractionalPercent], FractionalPercent]
    ) -> None:
        self._key = key
        self._default = default
        self._convert = convert
        self._take(default)

    def _take(self, share: FractionalPercent) -> None:
        self.numerator = share.numerator
        self.denominator = share.denominator
        self._limit = share.numerator / share.denominator

    def settle(self, values: Mapping[str, Any]) -> None:
        """Take what counts from now on."""
        self._take(self._convert(values.get(self._key), self._default))

    @property
    def possible(self) -> bool:
        """Whether it may cover anything, now or later."""
        return True

    def covers(self, number: int) -> bool:
        """See `FractionalPercent`."""
        return number % self.denominator < self.numerator

    def sampler(self, random: Random) -> Callable[[], bool]:
        """See `FractionalPercent`."""
        draw = random.random
        return lambda: draw() < self._limit


Share = FractionalPercent | RuntimeShare


class RuntimeValues(Mapping[str, Any]):
    """The values in force, of all layers. fixed: they will never change.

    A value is a bool, a number, a mapping (a share) or a text that means nothing but itself.
    """

    def __init__(self, values: Mapping[str, Any] | None = None, *, fixed: bool = False) -> None:
        self._values = dict(values or {})
        self.fixed = fixed
        self._followers: WeakSet[Follower] = WeakSet()

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def replace(self, values: Mapping[str, Any]) -> None:
        """From now on these are in force, and everything that follows them is told."""
        if values == self._values:
            return
        self._values = dict(values)
        for follower in list(self._followers):
            follower.settle(self._values)

    def follow(self, follower: F) -> F:
        """Settle something now, and after each change for as long as it lives."""
        follower.settle(self._values)
        if not self.fixed:
            self._followers.add(follower)
        return follower

    def integer(self, key: str, default: int) -> Live[int]:
        """An unsigned integer that follows `key`; "" is no key, here and below."""
        return self._live(key, default, as_integer)

    def number(self, key: str, default: float) -> Live[float]:
        """A float that follows `key`."""
        return self._live(key, default, as_number)

    def flag(self, key: str, default: bool) -> Live[bool]:
        """A flag that follows `key`."""
        return self._live(key, default, as_flag)

    def share(
        self,
        key: str,
        default: FractionalPercent,
        convert: Callable[[Any, FractionalPercent], FractionalPercent] = as_share,
    ) -> Share:
        """A share that follows `key`. convert: what a value means, in the place of `default`."""
        if not key or self.fixed:
            return convert(self._values.get(key), default) if key else default
        return self.follow(RuntimeShare(key, default, convert))

    def _live(self, key: str, default: T, convert: Callable[[Any, T], T]) -> Live[T]:
        live = Live(key, default, convert)
        if key:
            self.follow(live)
        return live


NO_RUNTIME = RuntimeValues(fixed=True)
"""Of a program without layers."""
