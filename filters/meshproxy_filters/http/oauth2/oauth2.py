"""`envoy.filters.http.oauth2`: lets browsers in that an authorization server has let in.

Who comes without a login is sent to the server with a `state`; who comes back with a code gets cookies for it and is
sent to where it wanted to go; who has them is let through; who has only a refresh token is given a login on the way.
Nothing is kept here: all that a login is stands in signed cookies (`login`), and all that a flow is in its state
(`callback`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HeadersResult, HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy_filters.http.oauth2.callback import Callback, Refused, read_callback, send_away
from meshproxy_filters.http.oauth2.config import read_config
from meshproxy_filters.http.oauth2.cookies import TooLong
from meshproxy_filters.http.oauth2.login import Browser, Login, end_flow, end_login, make_login
from meshproxy_filters.http.oauth2.sealing import SealBroken
from meshproxy_filters.http.oauth2.settings import OAuth2Config, matches_any
from meshproxy_filters.http.oauth2.tokens import NoTokens

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_PER_ROUTE = "envoy.extensions.filters.http.oauth2.v3.OAuth2PerRoute"
_STATUS, _REASON = "x-envoy-oauth-status", "x-envoy-oauth-failure-reason"


class OAuth2(HttpFilter[OAuth2Config | None]):
    """Its configuration is None where only routes have one."""

    _browser: Browser | None = None
    _renewed: Login | None = None

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> OAuth2Config | None:
        config = view.view("config")
        return None if config is None else read_config(config, context.stats, context)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> OAuth2Config | None:
        """As in Envoy its statistics are `<stat_prefix>oauth_*`, without those of the connection manager before."""
        if view.full_name != _PER_ROUTE:
            view.fail(f"Unable to unpack as {_PER_ROUTE}")
        return read_config(view.required("config"), context.root_stats, context)

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> HeadersResult:
        request.remove(_STATUS)
        request.remove(_REASON)
        config = self.config
        if config is None:
            return None
        if config.identity_header and config.identity_header != "authorization":
            request.remove(config.identity_header)
        if matches_any(config.passes, request):
            config.stats.passthrough.value += 1
            return None
        if not (config.endpoint.ready and config.sealer.ready):
            return self._unavailable(config, "OAuth2 secrets are not ready")
        self._browser = browser = Browser(request, config)
        if not config.keeps_authorization:
            request.remove("authorization")
        if config.sign_out.matches(request.path):
            return self._sign_out(config, browser, request, stream)
        if browser.is_logged_in(self.context.clock.wall()):
            return self._let_in(config, browser, request)
        if config.is_callback(request.path):
            return self._come_back(config, browser, request, stream)
        refresh = browser.token(config.cookies.refresh)
        if config.uses_refresh and refresh:
            return self._renew(config, browser, refresh, request, stream)
        return self._send_away(
            config,
            request,
            stream,
            f"Unauthorized, and forwarding as unauthorized because OAuth failure is allowed: {request.path}",
            f"Unauthorized, and redirecting to OAuth server is not allowed: {request.path}",
        )

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        if self._renewed is not None and self._browser is not None and self.config is not None:
            self._renewed.tell(response, self._browser, self.config)

    # -- who is logged in

    def _let_in(self, config: OAuth2Config, browser: Browser, request: RequestHeaders) -> LocalReply | None:
        config.stats.success.value += 1
        own = config.cookies
        self._hand_on(config, request, browser.token(own.access), browser.token(own.identity))
        if not config.is_callback(request.path):
            browser.forget(request)
            return None
        # The login of another request was quicker; the browser only has to be sent where it wanted to go.
        try:
            callback = read_callback(request.path, browser, config)
        except Refused as refused:
            return self._unauthorized(config, str(refused), refused.flow_id)
        wanted = "/" + callback.url.partition("://")[2].partition("/")[2]
        if config.is_callback(wanted):
            details = f"State url query params matches the redirect path matcher: {wanted}"
            return self._unauthorized(config, details, callback.flow_id)
        response = ResponseHeaders(302, [("location", callback.url)])
        end_flow(response, config, callback.flow_id)
        return _redirect(response, "oauth.race_redirect")

    @staticmethod
    def _hand_on(config: OAuth2Config, request: RequestHeaders, access: str, identity: str) -> None:
        if config.forwards_access and access:
            request["authorization"] = f"Bearer {access}"
        if config.identity_header and identity:
            bearer = config.identity_header == "authorization"
            request[config.identity_header] = f"Bearer {identity}" if bearer else identity

    def _sign_out(self, config: OAuth2Config, browser: Browser, request: RequestHeaders, stream: Stream) -> LocalReply:
        response, out = ResponseHeaders(302), config.sign_out
        end_login(response, browser, config)
        location = f"{request.scheme}://{request.authority}/"
        if out.endpoint:
            back = location if out.back is None else out.back(stream)
            token = browser.token(config.cookies.identity)
            location = f"{out.endpoint}?id_token_hint={token}&client_id={config.endpoint.client_id}"
            if out.tells_back:
                location += f"&post_logout_redirect_uri={quote(back, safe='', encoding='latin-1')}"
        response["location"] = location
        return _redirect(response, "oauth.sign_out")

    # -- who isn't

    def _come_back(
        self, config: OAuth2Config, browser: Browser, request: RequestHeaders, stream: Stream
    ) -> HeadersResult:
        try:
            callback = read_callback(request.path, browser, config)
        except Refused as refused:
            return self._unauthorized(config, str(refused), refused.flow_id)
        sealed = browser.of_flow(config.cookies.verifier, callback.flow_id)
        if not sealed:
            return self._unauthorized(config, "Code verifier cookie is missing in the request", callback.flow_id)
        try:
            verifier = config.sealer.open(sealed)
        except SealBroken as broken:
            details = f"Failed to decrypt code verifier: {sealed}, error: {broken}"
            return self._unauthorized(config, details, callback.flow_id)
        return self._exchange(config, browser, callback, verifier, stream)

    async def _exchange(
        self, config: OAuth2Config, browser: Browser, callback: Callback, verifier: str, stream: Stream
    ) -> LocalReply:
        redirect_uri = config.authorization.redirect_uri(stream)
        try:
            tokens = await config.endpoint.exchange_code(callback.code, redirect_uri, verifier, stream, self.context)
            login = make_login(config, tokens, browser, self.context.clock.wall())
        except NoTokens as missing:
            return self._unauthorized(config, str(missing), callback.flow_id)
        except TooLong:
            return self._unavailable(config, "OAuth token exceeds the cookie chunk limit")
        response = ResponseHeaders(302)
        login.tell(response, browser, config)
        end_flow(response, config, callback.flow_id)
        response["location"] = callback.url
        config.stats.success.value += 1
        return _redirect(response, "oauth.logged_in")

    async def _renew(
        self, config: OAuth2Config, browser: Browser, token: str, request: RequestHeaders, stream: Stream
    ) -> LocalReply | None:
        try:
            tokens = await config.endpoint.refresh(token, stream, self.context)
            login = make_login(config, tokens, browser, self.context.clock.wall(), again=True)
        except NoTokens as missing:
            return self._not_renewed(config, missing, request, stream)
        except TooLong:
            return self._unavailable(config, "OAuth token exceeds the cookie chunk limit")
        own = config.cookies
        for cookie, value in ((own.access, login.access), (own.identity, login.identity)):
            if value:
                browser.cookies[cookie.name] = value
        self._hand_on(config, request, login.access, login.identity)
        self._renewed = login
        config.stats.refreshed.value += 1
        config.stats.success.value += 1
        browser.forget(request)
        return None

    def _not_renewed(
        self, config: OAuth2Config, missing: NoTokens, request: RequestHeaders, stream: Stream
    ) -> LocalReply | None:
        """No tokens for a refresh token: begin anew where the server has said so, else give up."""
        if missing.refused:
            config.stats.not_refreshed.value += 1
            return self._send_away(
                config,
                request,
                stream,
                "Failed to refresh the access token, and forwarding as unauthorized because OAuth failure is allowed",
                "Failed to refresh the access token, and redirecting to OAuth server is not allowed",
            )
        if self._may_fail(config, request):
            self._let_fail(config, request, missing.reason)
            return None
        return self._unauthorized(config, str(missing))

    def _send_away(
        self, config: OAuth2Config, request: RequestHeaders, stream: Stream, why_allowed: str, why_denied: str
    ) -> LocalReply | None:
        if self._may_fail(config, request):
            self._let_fail(config, request, why_allowed)
            return None
        if matches_any(config.denies_redirect, request):
            return self._unauthorized(config, why_denied)
        try:
            response = send_away(request, stream, config)
        except Refused as refused:
            return self._unauthorized(config, str(refused))
        config.stats.unauthorized.value += 1
        return _redirect(response, "oauth.missing_credentials")

    # -- how it ends

    @staticmethod
    def _may_fail(config: OAuth2Config, request: RequestHeaders) -> bool:
        return not config.is_callback(request.path) and matches_any(config.allows_failure, request)

    def _let_fail(self, config: OAuth2Config, request: RequestHeaders, reason: str) -> None:
        if self._browser is not None:
            self._browser.forget(request, tokens=True)
        request[_STATUS] = "failed"
        request[_REASON] = reason
        config.stats.allowed_failed.value += 1

    @staticmethod
    def _unauthorized(config: OAuth2Config, details: str, flow_id: str = "") -> LocalReply:
        config.stats.failure.value += 1
        response = ResponseHeaders(401)
        if flow_id:
            end_flow(response, config, flow_id)
        return LocalReply(401, b"OAuth flow failed.", tuple(response.items()), details=details)

    @staticmethod
    def _unavailable(config: OAuth2Config, details: str) -> LocalReply:
        config.stats.failure.value += 1
        return LocalReply(503, b"Service Unavailable", details=details)


def _redirect(response: ResponseHeaders, details: str) -> LocalReply:
    return LocalReply(response.status, headers=tuple(response.items()), details=details, as_is=True)
