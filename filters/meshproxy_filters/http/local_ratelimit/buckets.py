"""The buckets of a local rate limit, and which of them a request takes tokens from.

Theory (Envoy's LocalRateLimiterImpl): a request is described by zero or more descriptors. Every configured descriptor
that equals one of them gives a bucket; they are asked from the slowest to the fastest, and the first that is empty
forbids the request. The default bucket is asked too (or, if so configured, only when no descriptor matched).

A configured entry without value stands for any: each combination of values that turns up gets a bucket of its own. A
client chooses those values, so only the `max_dynamic` last used are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from meshproxy.model.rate_limit import Entries
from meshproxy.records import dataclass
from meshproxy_filters.token_bucket import TokenBucket

Descriptor = tuple[Entries, int]
"""What a request says it is, and how much it weighs."""


@dataclass(frozen=True, slots=True)
class BucketShape:
    """maximum: tokens. rate: tokens per second."""

    maximum: int
    rate: float

    def bucket(self, now: float) -> TokenBucket:
        return TokenBucket(self.maximum, self.rate, now)


@dataclass(slots=True)
class _AnyValue:
    """A descriptor with entries for any value, and the buckets that came of it, the last used last."""

    pattern: Entries
    shape: BucketShape
    buckets: dict[Entries, TokenBucket] = field(default_factory=dict)

    def fits(self, entries: Entries) -> bool:
        return len(entries) == len(self.pattern) and all(
            key == wanted_key and wanted in ("", value)
            for (key, value), (wanted_key, wanted) in zip(entries, self.pattern, strict=True)
        )

    def bucket(self, entries: Entries, most: int, now: float) -> TokenBucket:
        bucket = self.buckets.pop(entries, None) or self.shape.bucket(now)
        self.buckets[entries] = bucket
        if len(self.buckets) > most:
            del self.buckets[next(iter(self.buckets))]
        return bucket


class Buckets:
    """All the buckets of one configuration (or, if so configured, of one of its connections).

    default: None without one: then what matches no descriptor is allowed. descriptors: entries -> shape; an entry
    whose value is "" is for any value.
    """

    __slots__ = ("_always_default", "_any_value", "_default", "_exact", "_max_dynamic")

    def __init__(
        self,
        default: BucketShape | None,
        descriptors: Sequence[tuple[Entries, BucketShape]],
        always_default: bool,
        max_dynamic: int,
        now: float,
    ) -> None:
        self._default = default.bucket(now) if default is not None else None
        self._always_default = always_default
        self._max_dynamic = max_dynamic
        exact = [(entries, shape) for entries, shape in descriptors if all(value for _, value in entries)]
        self._exact = {entries: shape.bucket(now) for entries, shape in exact}
        self._any_value = [
            _AnyValue(entries, shape) for entries, shape in descriptors if not all(value for _, value in entries)
        ]

    def allow(self, descriptors: Sequence[Descriptor], now: float) -> tuple[bool, TokenBucket | None]:
        """Whether a request so described may pass, and the bucket that decided it or, if it may, is the tightest."""
        if not descriptors:
            default = self._default
            if default is None:
                return True, None
            return default.take(now), default if default.maximum else None  # as in Envoy an empty one isn't told of
        matched: list[tuple[TokenBucket, int]] = []
        for entries, hits in descriptors:
            bucket = self._find(entries, now)
            if bucket is not None:
                matched.append((bucket, hits))
        matched.sort(key=_by_rate)
        for bucket, hits in matched:
            if not bucket.take(now, hits):
                return False, bucket
        first = matched[0][0] if matched else self._default
        if self._default is not None and (self._always_default or not matched) and not self._default.take(now):
            return False, self._default
        return True, first

    def _find(self, entries: Entries, now: float) -> TokenBucket | None:
        bucket = self._exact.get(entries)
        if bucket is not None:
            return bucket
        for candidate in self._any_value:
            if candidate.fits(entries):
                return candidate.bucket(entries, self._max_dynamic, now)
        return None


def _by_rate(item: tuple[TokenBucket, int]) -> float:
    return item[0].rate
