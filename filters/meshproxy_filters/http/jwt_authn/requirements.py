"""What a route requires of tokens (jwt_authn.v3.JwtRequirement), compiled to a tree of verifiers.

A verifier answers with a fault, Envoy's text, or with "" when the request may pass. Rules that Envoy keeps for
security, and this with it:
- a request with several tokens passes only if all of them are good: the upstream may read another one than we did;
- `allow_missing` passes a request without a token, and no other: a token of an unknown issuer is a fault
  (CVE-2021-21378), wherever in a `requires_any` it stands;
- of several faults of a `requires_any` the last one that says more than "missing" or "unknown issuer" is told, else
  "unknown issuer".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from meshproxy.clock import Clock
from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import Stream
from meshproxy.records import dataclass
from meshproxy_filters.http.jwt_authn.jwks import JwtStats
from meshproxy_filters.http.jwt_authn.keys import check_signature
from meshproxy_filters.http.jwt_authn.locations import Extractor, Token
from meshproxy_filters.http.jwt_authn.provider import NAMESPACE, Provider, plain_audience
from meshproxy_filters.http.jwt_authn.token import STATUS_CODES, Jwt, JwtError

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

MISSING = "Jwt is missing"
UNKNOWN_ISSUER = "Jwt issuer is not configured"
_LESS_TELLING = frozenset((MISSING, UNKNOWN_ISSUER))
_ALLOW_MISSING, _ALLOW_FAILED = "allow_missing", "allow_missing_or_failed"


@dataclass(frozen=True, slots=True)
class Providers:
    """All providers by name, and what verifying needs besides."""

    by_name: Mapping[str, Provider]
    clock: Clock
    stats: JwtStats

    def of_issuer(self, issuer: str) -> Provider | None:
        """The first provider for an issuer, or for any."""
        anyone = None
        for provider in self.by_name.values():
            if provider.issuer == issuer:
                return provider
            if not provider.issuer and anyone is None:
                anyone = provider
        return anyone

    async def accept(
        self,
        token: Token,
        provider: Provider | None,
        audiences: frozenset[str] | None,
        request: RequestHeaders,
        stream: Stream,
    ) -> None:
        """Verify one token and tell what it says. provider: None for that of its issuer. Raises JwtError."""
        jwt = self._cached(token, provider) or Jwt(token.text)
        if not token.may_be_of(jwt.issuer):
            raise JwtError(UNKNOWN_ISSUER)
        named = provider
        if provider is None:
            provider = self.of_issuer(jwt.issuer)
            if provider is None:
                raise JwtError(UNKNOWN_ISSUER)
        provider.check_claims(jwt, audiences, self.clock.wall())
        keys = provider.keys.current
        if keys is None:
            keys = await provider.keys.fetch(stream)
        cache = provider.cache if named is not None else None
        if cache is None or cache.find(token.text, keys) is not jwt:
            check_signature(jwt, keys)
            if cache is not None:
                cache.keep(token.text, jwt, keys)
        provider.accept(jwt, request, stream)
        if not provider.forward:
            token.remove(request)
        if provider.clear_route:
            stream.clear_route()

    def _cached(self, token: Token, provider: Provider | None) -> Jwt | None:
        if provider is None:
            return None
        found = provider.cache.find(token.text, provider.keys.current) if provider.cache is not None else None
        (self.stats.jwt_cache_miss if found is None else self.stats.jwt_cache_hit).value += 1
        return found


class Verifier(ABC):
    """One requirement."""

    @abstractmethod
    async def verify(self, request: RequestHeaders, stream: Stream) -> str:
        """The fault, or "" for none."""


class ProviderVerifier(Verifier):
    """All tokens at a provider's places are good tokens of it, and there is one."""

    def __init__(self, provider: Provider, audiences: frozenset[str] | None, providers: Providers) -> None:
        self.provider = provider
        self._audiences = audiences
        self._providers = providers
        self._extractor = Extractor.of([(provider.issuer, provider.places)])

    async def verify(self, request: RequestHeaders, stream: Stream) -> str:
        provider = self.provider
        provider.sanitize(request)
        fault = "" if (tokens := self._extractor.extract(request)) else MISSING
        for token in reversed(tokens):
            try:
                await self._providers.accept(token, provider, self._audiences, request, stream)
            except JwtError as error:
                fault = str(error)
                break
        if fault and provider.failure_key:
            stream.set_metadata(NAMESPACE, provider.failure_key, {"code": STATUS_CODES.get(fault, 0), "message": fault})
        return fault


class BypassVerifier(Verifier):
    """`allow_missing`, or with `failed` `allow_missing_or_failed`: tokens of any provider."""

    def __init__(self, failed: bool, providers: Providers) -> None:
        self._failed = failed
        self._providers = providers
        self._extractor = Extractor.of((each.issuer, each.places) for each in providers.by_name.values())

    async def verify(self, request: RequestHeaders, stream: Stream) -> str:
        for provider in self._providers.by_name.values():
            provider.sanitize(request)
        fault = ""
        for token in reversed(self._extractor.extract(request)):
            try:
                await self._providers.accept(token, None, None, request, stream)
            except JwtError as error:
                fault = str(error)
        return "" if self._failed else fault


class AnyVerifier(Verifier):
    """`requires_any`: the first that is met is enough.

    bypass: "allow_missing_or_failed" passes whatever the others say, "allow_missing" if all they say is "missing".
    """

    def __init__(self, verifiers: Sequence[Verifier], bypass: str) -> None:
        self._verifiers = verifiers
        self._bypass = bypass

    async def verify(self, request: RequestHeaders, stream: Stream) -> str:
        faults = []
        for verifier in self._verifiers:
            fault = await verifier.verify(request, stream)
            if not fault:
                return ""
            faults.append(fault)
        if not faults or self._bypass == _ALLOW_FAILED or (self._bypass and set(faults) == {MISSING}):
            return ""
        least = UNKNOWN_ISSUER if UNKNOWN_ISSUER in faults else MISSING
        return next((fault for fault in reversed(faults) if fault not in _LESS_TELLING), least)


class AllVerifier(Verifier):
    """`requires_all`: the first that isn't met is one too many."""

    def __init__(self, verifiers: Sequence[Verifier]) -> None:
        self._verifiers = verifiers

    async def verify(self, request: RequestHeaders, stream: Stream) -> str:
        for verifier in self._verifiers:
            fault = await verifier.verify(request, stream)
            if fault:
                return fault
        return ""


def read_requirement(view: ConfigView, providers: Providers) -> Verifier | None:
    """None for an empty requirement, which requires nothing. Raises ConfigError."""
    return _read(view, providers)


def _read(view: ConfigView, providers: Providers) -> Verifier | None:
    match view.which("requires_type"):
        case "provider_name":
            return ProviderVerifier(_find(view, providers), None, providers)
        case "provider_and_audiences":
            inner = view.required("provider_and_audiences")
            audiences = frozenset(map(plain_audience, inner.texts("audiences")))
            return ProviderVerifier(_find(inner, providers), audiences or None, providers)
        case "requires_any":
            return _read_any(view.required("requires_any").views("requirements"), providers)
        case "requires_all":
            entries = view.required("requires_all").views("requirements")
            return AllVerifier([each for entry in entries if (each := _read(entry, providers)) is not None])
        case "allow_missing_or_failed" | "allow_missing" as kind:
            view.required(kind)
            return BypassVerifier(kind == _ALLOW_FAILED, providers)
        case _:
            return None


def _read_any(views: Sequence[ConfigView], providers: Providers) -> Verifier:
    regular: list[Verifier] = []
    bypass = ""
    for view in views:
        kind = view.which("requires_type")
        if kind in (_ALLOW_FAILED, _ALLOW_MISSING):
            view.required(kind)
            bypass = kind if bypass != _ALLOW_FAILED else bypass
        elif (verifier := _read(view, providers)) is not None:
            regular.append(verifier)
    return AnyVerifier(regular, bypass)


def _find(view: ConfigView, providers: Providers) -> Provider:
    name = view.text("provider_name")
    provider = providers.by_name.get(name)
    if provider is None:
        view.fail(f"Required provider ['{name}'] is not configured.", "provider_name")
    return provider
