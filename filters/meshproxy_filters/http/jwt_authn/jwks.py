"""Where a provider's keys come from: the configuration itself, or a service that is asked for them.

Theory. Keys from a service are kept for `cache_duration`. A request that needs keys when there are none, or only old
ones, fetches them and waits; as in Envoy several such requests fetch each for itself. A fetch belongs to the request
that it is for, so it ends with it.

With `async_fetch` Envoy fetches ahead of the first request and again when a fetch fails, so no request waits for a
service that is down. Here the first request fetches; after a failure the following ones are refused at once for
`failed_refetch_duration`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext, FetchError, FetchReply, Stream
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass
from meshproxy_filters.http.asking import Service, read_retries, read_service
from meshproxy_filters.http.jwt_authn.keys import Jwk, read_jwks
from meshproxy_filters.http.jwt_authn.token import JwtError

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

Keys = tuple[Jwk, ...]

FETCH_FAILED = "Jwks remote fetch is failed"
_CACHE_SECONDS = 600.0
_REFETCH_SECONDS = 1.0
_HEADERS = (("user-agent", "Go-browser"),)  # Envoy's; some services give nothing to a client without one


class JwtStats:
    """`http.<prefix>.jwt_authn.`"""

    def __init__(self, scope: StatsScope) -> None:
        self.allowed = scope.counter("allowed")
        self.denied = scope.counter("denied")
        self.cors_preflight_bypassed = scope.counter("cors_preflight_bypassed")
        self.jwks_fetch_success = scope.counter("jwks_fetch_success")
        self.jwks_fetch_failed = scope.counter("jwks_fetch_failed")
        self.jwt_cache_hit = scope.counter("jwt_cache_hit")
        self.jwt_cache_miss = scope.counter("jwt_cache_miss")


class KeySource(ABC):
    """Gives the keys of one provider. current: those that need no waiting, else None."""

    @property
    @abstractmethod
    def current(self) -> Keys | None: ...

    @abstractmethod
    async def fetch(self, stream: Stream) -> Keys:
        """Keys from afar. Raises JwtError."""


@dataclass(frozen=True, slots=True)
class LocalKeys(KeySource):
    """Keys of the configuration."""

    keys: Keys

    @property
    def current(self) -> Keys | None:
        return self.keys

    async def fetch(self, stream: Stream) -> Keys:
        return self.keys


class RemoteKeys(KeySource):
    """Keys of a service; the only state of the filter that outlives a request."""

    def __init__(
        self,
        service: Service,
        keep_seconds: float,
        refetch_seconds: float | None,
        stats: JwtStats,
        context: FactoryContext,
    ) -> None:
        """refetch_seconds: how long after a failure nobody asks again; None: everybody does."""
        self._service = service
        self._keep_seconds = keep_seconds
        self._refetch_seconds = refetch_seconds
        self._stats = stats
        self._clock = context.clock
        self._context = context
        self._keys: Keys | None = None
        self._old_at = 0.0
        self._failed_until = 0.0

    @property
    def current(self) -> Keys | None:
        return self._keys if self._clock.now() < self._old_at else None

    async def fetch(self, stream: Stream) -> Keys:
        if self._refetch_seconds is not None and self._clock.now() < self._failed_until:
            raise JwtError(FETCH_FAILED)
        try:
            keys = await self._fetch(stream)
        except JwtError:
            self._stats.jwks_fetch_failed.value += 1
            if self._refetch_seconds is not None:
                self._failed_until = self._clock.now() + self._refetch_seconds
            raise
        self._stats.jwks_fetch_success.value += 1
        self._keys = keys
        self._old_at = self._clock.now() + self._keep_seconds
        return keys

    async def _fetch(self, stream: Stream) -> Keys:
        try:
            return _keys_of(await self._service.ask(stream, self._context, headers=_HEADERS))
        except FetchError:
            raise JwtError(FETCH_FAILED) from None


def _keys_of(reply: FetchReply) -> Keys:
    if reply.status != 200:
        raise JwtError(FETCH_FAILED)
    try:
        return read_jwks(reply.body)
    except JwtError:
        raise JwtError(FETCH_FAILED) from None


def read_key_source(view: ConfigView, stats: JwtStats, context: FactoryContext) -> KeySource:
    """`local_jwks` or `remote_jwks` of a provider. Raises ConfigError."""
    match view.which("jwks_source_specifier"):
        case "local_jwks":
            local = view.required("local_jwks")
            try:
                return LocalKeys(read_jwks(context.compile_data_source(local)))
            except JwtError as error:
                local.fail(f"{error}: no token could ever be verified with it")
        case "remote_jwks":
            return _read_remote(view.required("remote_jwks"), stats, context)
        case _:
            view.fail("one of 'remote_jwks' and 'local_jwks' is required")


def _read_remote(view: ConfigView, stats: JwtStats, context: FactoryContext) -> RemoteKeys:
    retries = read_retries(view.view("retry_policy"), own="5xx,gateway-error,connect-failure,reset")
    uri = view.required("http_uri")
    if "://" not in uri.text("uri"):
        uri.fail(f"'{uri.text('uri')}' isn't an absolute URI", "uri")
    service = read_service(uri, retries)
    refetch = None
    ahead = view.view("async_fetch")
    if ahead is not None:
        refetch = ahead.seconds("failed_refetch_duration", _REFETCH_SECONDS)
        ahead.ignore("fast_listener")
    return RemoteKeys(service, view.seconds("cache_duration", _CACHE_SECONDS), refetch, stats, context)
