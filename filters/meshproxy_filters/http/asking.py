"""Asking a service over HTTP for a filter (`core.v3.HttpUri`), and asking again (`core.v3.RetryPolicy`)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from meshproxy.model.retry import CONDITIONS, RetryPolicy
from meshproxy.plugin.context import FactoryContext, FetchError, FetchReply, Stream
from meshproxy.plugin.replies import ResetReason
from meshproxy.records import dataclass
from meshproxy_filters.http.router.retry import RetryRules

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NOT_SENT = (ResetReason.CONNECT_FAILURE, ResetReason.CONNECT_TIMEOUT, ResetReason.REMOTE_REFUSED_STREAM)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a service is asked again, after how many seconds (by chance below a bound that doubles), and why."""

    count: int = 0
    base: float = 0.0
    maximum: float = 0.0
    rules: RetryRules = RetryRules(RetryPolicy(), frozenset(), frozenset(), (), 0)

    def pause(self, attempt: int, rng: Random) -> float:
        return rng.uniform(0.0, min(self.base * 2.0**attempt, self.maximum))

    def after_error(self, error: FetchError) -> bool:
        reason = error.reason
        return reason is not None and self.rules.wants_reset(reason, sent=reason not in _NOT_SENT)


@dataclass(frozen=True, slots=True)
class Service:
    """Where it is. authority, path: of the URI. timeout: seconds, for all that asking takes, retries included."""

    cluster: str
    authority: str
    path: str
    timeout: float
    retries: Retries

    async def ask(
        self,
        stream: Stream,
        context: FactoryContext,
        method: str = "GET",
        path: str = "",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        authority: str = "",
        tell_address: bool = True,
    ) -> FetchReply:
        """The answer, of whatever status. path, authority: in place of those of the URI. Raises FetchError."""
        retries = self.retries
        now = context.clock.now
        until = now() + self.timeout
        for attempt in range(retries.count + 1):
            if attempt:
                await stream.sleep(min(retries.pause(attempt - 1, context.rng), until - now()))
            left = until - now() if attempt else self.timeout
            if left <= 0:
                break
            last = attempt == retries.count
            try:
                reply = await stream.fetch(
                    self.cluster,
                    method,
                    path or self.path,
                    headers=headers,
                    body=body,
                    authority=authority or self.authority,
                    timeout=left,
                    tell_address=tell_address,
                )
            except FetchError as error:
                if last or not retries.after_error(error):
                    raise
                continue
            if last or not retries.rules.wants_response(reply.headers):
                return reply
        raise FetchError(f"no answer from cluster {self.cluster!r} in {self.timeout:g} s")


def read_service(uri: ConfigView, retries: Retries) -> Service:
    """`HttpUri`."""
    authority, path = split_uri(uri.text("uri"))
    return Service(uri.text("cluster"), authority, path, uri.seconds("timeout", 0.0), retries)


def read_retries(view: ConfigView | None, *, own: str = "") -> Retries:
    """`RetryPolicy`. own: the reasons of a filter that doesn't ask its configuration for any. Raises ConfigError.

    Words in `retry_on` that are no reason are passed over, as in routes.
    """
    if view is None:
        return Retries()
    back_off = view.view("retry_back_off")
    base = back_off.seconds("base_interval", 1.0) if back_off is not None else 1.0
    maximum = back_off.seconds("max_interval", base * 10) if back_off is not None else base * 10
    if maximum < base:
        view.fail("max_interval must be greater than or equal to the base_interval", "retry_back_off")
    given = view.text("retry_on")
    reasons = CONDITIONS.intersection(each.strip(" ") for each in (own or given).split(","))
    count = view.integer("num_retries", 1)
    return Retries(count, base, maximum, RetryRules(RetryPolicy(), reasons, frozenset(), (), count))


def split_uri(uri: str) -> tuple[str, str]:
    """Host and path of a URI, with its query: `https://a:1/b?c` gives `a:1` and `/b?c`."""
    rest = uri.partition("://")[2] or uri
    host, slash, path = rest.partition("/")
    return host, f"{slash}{path}" if slash else "/"
