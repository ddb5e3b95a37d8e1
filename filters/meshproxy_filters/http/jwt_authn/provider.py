"""Providers of tokens (jwt_authn.v3.JwtProvider): what a token of theirs must be, and what becomes of a good one."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from meshproxy.headers import RequestHeaders, check_name, check_value
from meshproxy.matching import StringMatcher, wire_text
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.records import dataclass
from meshproxy_filters.http.jwt_authn.jwks import KeySource, read_key_source
from meshproxy_filters.http.jwt_authn.locations import Places
from meshproxy_filters.http.jwt_authn.token import Jwt, JwtError

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView
    from meshproxy_filters.http.jwt_authn.jwks import JwtStats

NAMESPACE = "envoy.filters.http.jwt_authn"
_CLOCK_SKEW = 60
_MAX_UINT64 = 2**64
_CACHE_SIZE, _MAX_CACHED_TOKEN = 100, 4096


class TokenCache:
    """Tokens whose signature was good, the last used last. size: how many. longest: of a token, in characters."""

    def __init__(self, size: int, longest: int) -> None:
        self.size = size
        self.longest = longest
        self._tokens: dict[str, tuple[Jwt, object]] = {}

    def find(self, text: str, keys: object) -> Jwt | None:
        """The token, if `keys` are those that it was verified with."""
        found = self._tokens.pop(text, None)
        if found is None or found[1] is not keys:
            return None
        self._tokens[text] = found
        return found[0]

    def keep(self, text: str, jwt: Jwt, keys: object) -> None:
        if len(text) > self.longest:
            return
        self._tokens[text] = jwt, keys
        if len(self._tokens) > self.size:
            del self._tokens[next(iter(self._tokens))]


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    """issuer: "" for any. audiences: empty for any. clock_skew, max_lifetime: seconds; max_lifetime None for any.

    max_lifetime: of what is left of a token's life, not of the whole of it.
    """

    name: str
    issuer: str
    audiences: frozenset[str]
    subjects: StringMatcher | None
    require_expiration: bool
    max_lifetime: float | None
    clock_skew: int
    keys: KeySource
    cache: TokenCache | None
    places: Places
    forward: bool
    payload_header: str
    pad_payload: bool
    claim_headers: tuple[tuple[str, tuple[str, ...]], ...]
    payload_key: str
    header_key: str
    failure_key: str
    spaced_claims: frozenset[str]
    clear_route: bool

    def check_claims(self, jwt: Jwt, audiences: frozenset[str] | None, now: float) -> None:
        """Raises JwtError. audiences: in place of the provider's own. now: seconds since 1970."""
        jwt.check_dates(now, self.clock_skew)
        if self.subjects is not None and not self.subjects(wire_text(jwt.subject)):
            raise JwtError("Jwt verification fails")
        if self.require_expiration and not jwt.expires:
            raise JwtError("Jwt verification fails")
        if self.max_lifetime is not None and not 0 < jwt.expires <= now + self.max_lifetime:
            raise JwtError("Jwt verification fails")
        allowed = self.audiences if audiences is None else audiences
        if allowed and not any(plain_audience(audience) in allowed for audience in jwt.audiences):
            raise JwtError(AUDIENCE_NOT_ALLOWED)

    def accept(self, jwt: Jwt, request: RequestHeaders, stream: Stream) -> None:
        """Tell the rest of the chain, and the upstream, what a good token says."""
        if self.payload_header:
            padding = "=" * (-len(jwt.payload_text) % 4) if self.pad_payload else ""
            request.append_checked(self.payload_header, jwt.payload_text + padding)
        for name, path in self.claim_headers:
            text = claim_text(find_claim(jwt.payload, path))
            if text:
                try:
                    request.append_checked(name, check_value(wire_text(text)))
                except ValueError:
                    continue  # the issuer put into it what no header can carry
        if self.header_key:
            stream.set_metadata(NAMESPACE, self.header_key, jwt.header)
        if self.payload_key:
            stream.set_metadata(NAMESPACE, self.payload_key, self._normalized(jwt.payload))

    def _normalized(self, payload: dict[str, Any]) -> dict[str, Any]:
        texts = {name: payload[name] for name in self.spaced_claims if isinstance(payload.get(name), str)}
        words = {name: [word for word in text.split(" ") if word] for name, text in texts.items()}
        return {**payload, **{name: found for name, found in words.items() if found}} if words else payload

    def sanitize(self, request: RequestHeaders) -> None:
        """Remove headers that only a good token of this provider may set."""
        if self.payload_header:
            request.remove(self.payload_header)
        for name, _ in self.claim_headers:
            request.remove(name)


AUDIENCE_NOT_ALLOWED = "Audiences in Jwt are not allowed"


def plain_audience(audience: str) -> str:
    """An audience without the scheme and the last slash of a URL: with and without them it means the same to Envoy."""
    for scheme in ("https://", "http://"):
        if audience.startswith(scheme):
            audience = audience[len(scheme) :]
            break
    return audience.removesuffix("/")


def find_claim(payload: dict[str, Any], path: Sequence[str]) -> Any:
    """The claim of a name, or one below a claim. None when there is none."""
    found: Any = payload
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def claim_text(value: Any) -> str:
    """A claim as the value of a header; "" for none. Lists and objects as base64 of JSON, as in Envoy."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _number_text(value)
        case list() | dict():
            text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
            return base64.b64encode(text.encode()).decode("ascii")
        case _:
            return ""


def _number_text(value: float) -> str:
    """As in Envoy, where every number of JSON is a double."""
    try:
        number = float(value)
    except OverflowError:
        return ""
    return str(int(number)) if number.is_integer() and 0 <= number < _MAX_UINT64 else f"{number:f}"


def read_provider(name: str, view: ConfigView, stats: JwtStats, context: FactoryContext) -> Provider:
    """Raises ConfigError."""
    subjects = view.view("subjects")
    normalize = view.view("normalize_payload_in_metadata")
    return Provider(
        name=name,
        issuer=view.text("issuer"),
        audiences=frozenset(map(plain_audience, view.texts("audiences"))),
        subjects=context.compile_string_matcher(subjects) if subjects is not None else None,
        require_expiration=view.boolean("require_expiration"),
        max_lifetime=view.duration("max_lifetime"),
        clock_skew=view.integer("clock_skew_seconds") or _CLOCK_SKEW,
        keys=read_key_source(view, stats, context),
        cache=_read_cache(view),
        places=Places.read(view),
        forward=view.boolean("forward"),
        payload_header=_read_header(view, "forward_payload_header"),
        pad_payload=view.boolean("pad_forward_payload_header"),
        claim_headers=_read_claim_headers(view.views("claim_to_headers")),
        payload_key=view.text("payload_in_metadata"),
        header_key=view.text("header_in_metadata"),
        failure_key=view.text("failed_status_in_metadata"),
        spaced_claims=frozenset(normalize.texts("space_delimited_claims") if normalize is not None else ()),
        clear_route=view.boolean("clear_route_cache"),
    )


def _read_cache(view: ConfigView) -> TokenCache | None:
    cache = view.view("jwt_cache_config")
    if cache is None:
        return None
    size, longest = cache.integer("jwt_cache_size"), cache.integer("jwt_max_token_size")
    return TokenCache(size or _CACHE_SIZE, longest or _MAX_CACHED_TOKEN)


def _read_header(view: ConfigView, field: str) -> str:
    name = view.text(field)
    if not name:
        return ""
    try:
        return check_name(name)
    except ValueError as error:
        view.fail(str(error), field)


def _read_claim_headers(views: Sequence[ConfigView]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((_read_header(view, "header_name"), _read_claim_path(view)) for view in views)


def _read_claim_path(view: ConfigView) -> tuple[str, ...]:
    """`claim_path`, whose names may have dots in them, or `claim_name`, in which dots part them."""
    path, name = tuple(segment.text("key") for segment in view.views("claim_path")), view.text("claim_name")
    if bool(path) == bool(name):
        view.fail("exactly one of 'claim_name' and 'claim_path' has to be set", "claim_path")
    return path or tuple(name.split("."))
