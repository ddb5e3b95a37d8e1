"""A filter that asks a service whether a token is good, and tells the application whose it is.

The service is asked with `GET /t/<token>`; a 200 with `x-user` means yes. Answers are remembered for a while, so most
requests don't wait.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from urllib.parse import quote

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, FetchError, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply

_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class TokenGateConfig:
    """What stands under `value` in the YAML; each field is checked against its type, with the line of a fault.

    timeout, remember: seconds. fail_open: let requests pass while the service can't be asked.
    """

    token_cluster: str
    header: str = "x-api-token"
    deny_prefixes: tuple[str, ...] = ()
    timeout: float = 0.2
    remember: float = 10.0
    fail_open: bool = False


class Shared:
    """What all requests under one configuration share.

    settings: as configured. known: token -> (user, when to ask again, on the monotonic clock).
    """

    def __init__(self, settings: TokenGateConfig, context: FactoryContext) -> None:
        stats = context.stats.scope("token_gate.")
        self.settings = settings
        self.asked = stats.counter("asked")
        self.failed = stats.counter("failed")
        self.known: dict[str, tuple[str, float]] = {}


class TokenGate(HttpFilter[Shared]):
    """Lets a request through only with a token that the token service knows."""

    config_type = TokenGateConfig

    @classmethod
    def compile_struct(cls, config: TokenGateConfig, context: FactoryContext) -> Shared:
        return Shared(config, context)

    def on_request_headers(
        self, request: RequestHeaders, stream: Stream
    ) -> LocalReply | Awaitable[LocalReply | None] | None:
        # Whoever sends this field without us would be taken for somebody else.
        request.remove("x-user")
        settings = self.config.settings
        if request.path.startswith(settings.deny_prefixes):
            return LocalReply(403, b"denied", details="token_gate_rule")
        token = request.get(settings.header)
        if not token:
            return LocalReply(401, details="token_gate_no_token")
        user, until = self.config.known.get(token, ("", 0.0))
        if self.context.clock.now() < until:
            request["x-user"] = user
            return None
        return self._ask(token, request, stream)

    async def _ask(self, token: str, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        shared, settings = self.config, self.config.settings
        shared.asked.inc()
        try:
            reply = await stream.fetch(
                settings.token_cluster, "GET", f"/t/{quote(token, safe='')}", timeout=settings.timeout
            )
        except FetchError as error:
            shared.failed.inc()
            self.log.warning("token service can't be asked", error=str(error))
            return None if settings.fail_open else LocalReply(503, details="token_gate_no_service")
        if reply.status != 200:
            return LocalReply(401, details="token_gate_unknown")
        user = reply.headers.get("x-user", "") or ""
        if len(shared.known) >= _MOST_REMEMBERED:
            shared.known.clear()
        shared.known[token] = user, self.context.clock.now() + settings.remember
        request["x-user"] = user
        return None
