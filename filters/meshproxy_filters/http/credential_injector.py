"""`envoy.filters.http.credential_injector`: gives requests to an upstream the credential that it asks for.

The credential is a secret of the configuration (`Generic`), or a token that an OAuth 2 server gives for one (`OAuth2`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from meshproxy.headers import RequestHeaders, check_name, check_value
from meshproxy.matching import wire_text
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HeadersResult, HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.secret import LiveSecret
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass
from meshproxy_filters.http.oauth2_client_credentials import OAUTH2, TokenSource, read_token_source

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_GENERIC = "envoy.extensions.http.injected_credentials.generic.v3.Generic"
_FAILED = LocalReply(401, b"Failed to inject credential.", details="failed_to_inject_credential")


class CredentialInjectorStats:
    """`http.<prefix>.credential_injector.`"""

    def __init__(self, scope: StatsScope) -> None:
        self.injected = scope.counter("injected")
        self.failed = scope.counter("failed")
        self.already_exists = scope.counter("already_exists")


class Credential(Protocol):
    """header: that it goes into."""

    @property
    def header(self) -> str: ...

    def current(self) -> str:
        """The value of the header; "" for none."""


@dataclass(frozen=True, slots=True, eq=False)
class SecretCredential:
    """A secret as it is; one that no header can hold is none."""

    header: str
    secret: LiveSecret
    prefix: str = ""

    def current(self) -> str:
        value = self.secret.value.decode("latin-1").strip(" \t\r\n")
        try:
            check_value(value)
        except ValueError:
            return ""
        return f"{self.prefix}{value}" if value else ""


@dataclass(frozen=True, slots=True, eq=False)
class CredentialInjectorConfig:
    """optional: a request goes on without a credential when there is none. tokens: None for a secret."""

    stats: CredentialInjectorStats
    credential: Credential
    overwrite: bool
    optional: bool
    tokens: TokenSource | None = None


class CredentialInjector(HttpFilter[CredentialInjectorConfig]):
    """With a credential that is here already."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> CredentialInjectorConfig:
        scope = context.stats.scope("credential_injector.")
        typed = view.required("credential").any("typed_config")
        view.required("credential").text("name")
        if typed is None:
            view.fail("a credential with 'typed_config' is required", "credential")
        stats, overwrite = CredentialInjectorStats(scope), view.boolean("overwrite")
        optional = view.boolean("allow_request_without_credential")
        if typed.full_name == OAUTH2:
            tokens = read_token_source(typed.message(OAUTH2), scope.scope("oauth2."), context)
            return CredentialInjectorConfig(stats, tokens, overwrite, optional, tokens)
        return CredentialInjectorConfig(stats, _read_generic(typed.message(_GENERIC), context), overwrite, optional)

    @classmethod
    def for_config(cls, config: CredentialInjectorConfig) -> type[HttpFilter[Any]]:
        return CredentialInjector if config.tokens is None else FetchedCredentialInjector

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> HeadersResult:
        return self._inject(request)

    def _inject(self, request: RequestHeaders) -> LocalReply | None:
        config = self.config
        credential = config.credential
        if not config.overwrite and credential.header in request:
            config.stats.already_exists.value += 1
            return None
        value = credential.current()
        if not value:
            config.stats.failed.value += 1
            return None if config.optional else _FAILED
        request.remove(credential.header)
        request[credential.header] = value
        config.stats.injected.value += 1
        return None


class FetchedCredentialInjector(CredentialInjector):
    """With a token that may have to be fetched first."""

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> HeadersResult:
        tokens = self.config.tokens
        if tokens is None or not tokens.is_due():
            return self._inject(request)
        return self._fetch(tokens, request, stream)

    async def _fetch(self, tokens: TokenSource, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        await tokens.fetch(stream)
        return self._inject(request)


def _read_generic(view: ConfigView, context: FactoryContext) -> SecretCredential:
    header = (view.text("header") or "authorization").lower()
    try:
        check_name(header)
    except ValueError as error:
        view.fail(str(error), "header")
    return SecretCredential(header, context.compile_secret(view.required("credential")), _read_prefix(view))


def _read_prefix(view: ConfigView) -> str:
    prefix = wire_text(view.text("header_value_prefix"))
    try:
        check_value(prefix)
    except ValueError as error:
        view.fail(str(error), "header_value_prefix")
    return prefix
