"""Tokens that an OAuth 2 server gives for a client's own credentials (RFC 6749 section 4.4).

Theory. A token is used for as long as the server said, and a new one is asked for after half of that time. Envoy asks
by a timer, from the start on. Here a request asks and waits for the answer: the first one, and the first one after
half of the time; the others go on with the token that is there. After a failure nobody asks again for
`token_fetch_retry_interval`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from meshproxy.headers import check_value
from meshproxy.plugin.context import FactoryContext, FetchError, FetchReply, Stream
from meshproxy.plugin.secret import LiveSecret
from meshproxy.plugin.stats import StatsScope
from meshproxy_filters.http.asking import Retries, Service, read_service

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

OAUTH2 = "envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2"
_RETRY_SECONDS = 2.0
_HEADERS = (  # Envoy's
    ("content-type", "application/x-www-form-urlencoded"),
    ("user-agent", "Go-browser"),
    ("accept", "application/json"),
)


class TokenStats:
    """`http.<prefix>.credential_injector.oauth2.`"""

    def __init__(self, scope: StatsScope) -> None:
        self.token_requested = scope.counter("token_requested")
        self.token_fetched = scope.counter("token_fetched")
        self.no_secret = scope.counter("token_fetch_failed_on_client_secret")
        self.no_cluster = scope.counter("token_fetch_failed_on_cluster_not_found")
        self.no_answer = scope.counter("token_fetch_failed_on_stream_reset")
        self.bad_token = scope.counter("token_fetch_failed_on_bad_token")
        self.bad_status = scope.counter("token_fetch_failed_on_bad_response_code")


class TokenSource:
    """The token of one configuration; it is of the whole process, not of a request."""

    header: ClassVar[str] = "authorization"

    def __init__(
        self,
        service: Service,
        client_id: str,
        secret: LiveSecret,
        scope: str,
        retry_seconds: float,
        stats: TokenStats,
        context: FactoryContext,
    ) -> None:
        self._service = service
        self._client_id = client_id
        self._secret = secret
        self._scope = scope
        self._retry_seconds = retry_seconds
        self._stats = stats
        self._context = context
        self._now = context.clock.now
        self._value = ""
        self._expires_at = 0.0
        self._due_at = float("-inf")
        self._fetching = 0

    def current(self) -> str:
        """The value of the header; "" without a token that is good."""
        return self._value if self._now() < self._expires_at else ""

    def is_due(self) -> bool:
        """Whether to fetch another token first."""
        now = self._now()
        return now >= self._due_at and not (self._fetching and now < self._expires_at)

    async def fetch(self, stream: Stream) -> None:
        """Ask for a token; afterwards `current` is the new one, or what it was."""
        self._fetching += 1
        self._stats.token_requested.value += 1
        try:
            fetched = await self._ask(stream)
        finally:
            self._fetching -= 1
        now = self._now()
        if not fetched:
            self._due_at = now + self._retry_seconds

    async def _ask(self, stream: Stream) -> bool:
        secret = self._secret.value
        if not secret:
            self._stats.no_secret.value += 1
            return False
        if stream.clusters.get(self._service.cluster) is None:
            self._stats.no_cluster.value += 1
            return False
        form = f"grant_type=client_credentials&client_id={form_text(self._client_id)}&client_secret={form_text(secret)}"
        if self._scope:
            form += f"&scope={form_text(self._scope)}"
        try:
            reply = await self._service.ask(stream, self._context, "POST", headers=_HEADERS, body=form.encode())
        except FetchError:
            self._stats.no_answer.value += 1
            return False
        return self._take(reply)

    def _take(self, reply: FetchReply) -> bool:
        if reply.status != 200:
            self._stats.bad_status.value += 1
            return False
        found = _read_token(reply.body)
        if found is None:
            self._stats.bad_token.value += 1
            return False
        token, seconds = found
        now = self._now()
        self._value = f"Bearer {token}"
        self._expires_at = now + seconds
        self._due_at = now + seconds / 2
        self._stats.token_fetched.value += 1
        return True


def _read_token(body: bytes) -> tuple[str, int] | None:
    """The token of an answer, and the seconds that it is good for; None if there isn't one that a header can hold."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    token, seconds = answer.get("access_token"), answer.get("expires_in")
    if isinstance(seconds, str) and seconds.isdecimal() and seconds.isascii() and len(seconds) < 19:
        seconds = int(seconds)
    if not isinstance(token, str) or not token or type(seconds) is not int or seconds <= 0:
        return None
    try:
        check_value(token)
    except ValueError:
        return None
    return token, seconds


def form_text(value: str | bytes) -> str:
    """A value as Envoy writes it into a form: percent-encoded but for letters, digits and `*-._`."""
    return quote(value, safe="*").replace("~", "%7E")


def read_token_source(view: ConfigView, scope: StatsScope, context: FactoryContext) -> TokenSource:
    """`OAuth2`. Raises ConfigError."""
    client = view.view("client_credentials")
    if client is None:
        view.fail("'client_credentials' is required")
    # Envoy 1.40 reads it as well, and sends the credentials in the body in any case.
    client.enum("auth_type")
    endpoint = view.required("token_endpoint")
    service = read_service(endpoint, Retries())
    return TokenSource(
        service,
        client.text("client_id"),
        context.compile_secret(client.required("client_secret")),
        " ".join(view.texts("scopes")),
        view.seconds("token_fetch_retry_interval", _RETRY_SECONDS),
        TokenStats(scope),
        context,
    )
