"""`OAuth2Config`, read (envoy.extensions.filters.http.oauth2.v3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from meshproxy.absolute_url import parse_absolute_url
from meshproxy.matching import HeaderMatcher, wire_text
from meshproxy.model.listener import LineFormatter
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stats import StatsScope
from meshproxy_filters.http.asking import Service, read_retries, read_service
from meshproxy_filters.http.oauth2.assertion import read_assertion
from meshproxy_filters.http.oauth2.cookies import Chunking, Cookie
from meshproxy_filters.http.oauth2.query import read_query
from meshproxy_filters.http.oauth2.sealing import Sealer
from meshproxy_filters.http.oauth2.settings import Authorization, CookieSet, Kept, OAuth2Config, SignOut
from meshproxy_filters.http.oauth2.stats import OAuth2Stats
from meshproxy_filters.http.oauth2.tokens import TokenEndpoint

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_COOKIES = {  # the field of the names, that of the settings, and Envoy's own name
    "signature": ("oauth_hmac", "OauthHMAC"),
    "expires": ("oauth_expires", "OauthExpires"),
    "access": ("bearer_token", "BearerToken"),
    "identity": ("id_token", "IdToken"),
    "refresh": ("refresh_token", "RefreshToken"),
    "nonce": ("oauth_nonce", "OauthNonce"),
    "verifier": ("code_verifier", "CodeVerifier"),
}
_RETRY_ON = "5xx,gateway-error,connect-failure,reset"
_REFRESH_SECONDS = 604800
_FLOW_SECONDS = 600
_SAME_SITE = {"STRICT": ";SameSite=Strict", "LAX": ";SameSite=Lax", "NONE": ";SameSite=None"}
_MOST_COOKIE = 4096
_MOST_CHUNKS = 8


def read_config(view: ConfigView, scope: StatsScope, context: FactoryContext) -> OAuth2Config:
    """scope: for the statistics. Raises ConfigError."""
    stats = OAuth2Stats(scope.scope(view.text("stat_prefix")))
    credentials = view.required("credentials")
    sealer = Sealer(
        context.compile_secret(credentials.required("hmac_secret")), context.runtime, stats.legacy_decrypted
    )
    uses_refresh = view.boolean("use_refresh_token", True)
    return OAuth2Config(
        stats=stats,
        endpoint=_read_endpoint(view, credentials, context),
        sealer=sealer,
        cookies=_read_cookies(view, credentials),
        kept=_read_kept(view, uses_refresh),
        authorization=_read_authorization(view, credentials, context),
        sign_out=_read_sign_out(view, context),
        is_callback=_read_path(view.required("redirect_path_matcher"), context),
        passes=_read_matchers(view, "pass_through_matcher", context),
        denies_redirect=_read_matchers(view, "deny_redirect_matcher", context),
        allows_failure=_read_matchers(view, "allow_failed_matcher", context),
        uses_refresh=uses_refresh,
        forwards_access=view.boolean("forward_bearer_token"),
        identity_header=_read_identity_header(view),
        keeps_authorization=view.boolean("preserve_authorization_header"),
    )


def _read_endpoint(view: ConfigView, credentials: ConfigView, context: FactoryContext) -> TokenEndpoint:
    uri = view.view("token_endpoint")
    retries = read_retries(view.view("retry_policy"), own=_RETRY_ON)
    service = read_service(uri, retries) if uri is not None else Service("", "", "", 0.0, retries)
    kind = view.enum("auth_type")
    by_tls = kind == "TLS_CLIENT_AUTH"
    if not by_tls and not credentials.has("token_secret"):
        credentials.fail("token_secret is required when auth_type is not TLS_CLIENT_AUTH")
    secret = credentials.view("token_secret")
    live = context.compile_secret(secret) if secret is not None else None
    return TokenEndpoint(
        service,
        wire_text(credentials.text("client_id")),
        kind,
        None if by_tls else live,
        read_assertion(view.view("private_key_jwt_config"), uri.text("uri") if uri is not None else ""),
        int(view.seconds("default_expires_in", 0)),
    )


def _read_cookies(view: ConfigView, credentials: ConfigView) -> CookieSet:
    names, settings = credentials.view("cookie_names"), view.view("cookie_configs")
    domain = credentials.text("cookie_domain")

    def read(field: str, default: str) -> Cookie:
        name = names.text(field) if names is not None else ""
        own = settings.view(f"{field}_cookie_config") if settings is not None else None
        if own is None:
            return Cookie(name or default, "/", domain, "")
        attributes = _SAME_SITE.get(own.enum("same_site"), "") + (";Partitioned" if own.boolean("partitioned") else "")
        return Cookie(name or default, own.text("path") or "/", domain, attributes)

    return CookieSet(domain, **{role: read(*fields) for role, fields in _COOKIES.items()})


def _read_kept(view: ConfigView, uses_refresh: bool) -> Kept:
    chunking = view.view("token_cookie_chunking")
    return Kept(
        access=not view.boolean("disable_access_token_set_cookie"),
        identity=not view.boolean("disable_id_token_set_cookie"),
        refresh=not view.boolean("disable_refresh_token_set_cookie") and uses_refresh,
        refresh_seconds=int(view.seconds("default_refresh_token_expires_in", _REFRESH_SECONDS)),
        identity_as_access=view.boolean("use_access_token_expiry_for_id_token_cookie"),
        sealed=not view.boolean("disable_token_encryption"),
        chunking=None
        if chunking is None
        else Chunking(
            chunking.integer("max_cookie_size", _MOST_COOKIE),
            chunking.integer("max_chunks", _MOST_CHUNKS),
        ),
    )


def _read_authorization(view: ConfigView, credentials: ConfigView, context: FactoryContext) -> Authorization:
    endpoint = view.text("authorization_endpoint")
    found = parse_absolute_url(endpoint)
    if found is None:
        view.fail(
            f"OAuth2 filter: invalid authorization endpoint URL '{endpoint}' in config.", "authorization_endpoint"
        )
    scheme, _, place = endpoint.partition("#")[0].partition("://")
    place, _, query = place.partition("?")
    scopes = view.texts("auth_scopes") or ["user"]
    parameters = read_query(query) | {
        "client_id": [wire_text(credentials.text("client_id"))],
        "response_type": ["code"],
        "scope": [quote(" ".join(scopes), safe="")],
    }
    own_uri = view.text("original_request_uri")
    return Authorization(
        url=f"{scheme}://{found.host_and_port}{''.join(place.partition('/')[1:])}",
        parameters=parameters,
        resources="".join(f"&resource={quote(each, safe='')}" for each in view.texts("resources")),
        redirect_uri=_read_format(view, "redirect_uri", context),
        own_uri=_read_format(view, "original_request_uri", context) if own_uri else None,
        domains=tuple(view.texts("allowed_redirect_domains")),
        nonce_seconds=int(view.seconds("csrf_token_expires_in", _FLOW_SECONDS)),
        verifier_seconds=int(view.seconds("code_verifier_token_expires_in", _FLOW_SECONDS)),
    )


def _read_format(view: ConfigView, name: str, context: FactoryContext) -> LineFormatter:
    try:
        return context.compile_format(view.text(name))
    except ValueError as error:
        view.fail(str(error), name)


def _read_sign_out(view: ConfigView, context: FactoryContext) -> SignOut:
    endpoint = view.text("end_session_endpoint")
    if endpoint and "openid" not in view.texts("auth_scopes"):
        message = "OAuth2 filter: end session endpoint is only supported for OpenID Connect."
        view.fail(message, "end_session_endpoint")
    back = view.view("post_logout_redirect_uri")
    kind = back.which("config") if back is not None else None
    if back is not None and kind == "disabled":
        back.boolean("disabled")
    return SignOut(
        _read_path(view.required("signout_path"), context),
        endpoint,
        kind != "disabled",
        _read_format(back, "uri", context) if back is not None and kind == "uri" else None,
    )


def _read_path(view: ConfigView, context: FactoryContext) -> Callable[[str], bool]:
    """`PathMatcher`: on the path as it is before the query and the fragment."""
    matches = context.compile_string_matcher(view.required("path"))
    return lambda path: matches(path.partition("?")[0].partition("#")[0])


def _read_matchers(view: ConfigView, name: str, context: FactoryContext) -> tuple[HeaderMatcher, ...]:
    return tuple(context.compile_header_matcher(entry) for entry in view.views(name))


def _read_identity_header(view: ConfigView) -> str:
    forwarding = view.view("forward_id_token")
    written = forwarding.text("header") if forwarding is not None else ""
    header = written.lower()
    uses = (
        view.boolean("forward_bearer_token"),
        view.boolean("preserve_authorization_header"),
        header == "authorization",
    )
    if sum(uses) > 1:
        view.fail(
            "invalid OAuth2 configuration: at most one of forward_bearer_token, preserve_authorization_header, or "
            "forward_id_token (when forwarding the ID token on the Authorization header) may be set, as they all use "
            "the Authorization header"
        )
    if header == "host" or header.startswith(":"):
        view.fail(
            f"invalid forward_id_token configuration: header '{written}' can not be used to forward the ID token; "
            "pseudo-headers and the Host header are not allowed",
            "forward_id_token",
        )
    if header and any(entry.text("name").lower() == header for entry in view.views("pass_through_matcher")):
        view.fail(
            "invalid forward_id_token configuration: pass_through_matcher can not match on the forwarded ID token "
            f"header '{written}'",
            "pass_through_matcher",
        )
    return header
