"""`envoy.filters.http.custom_response`: other words in place of a response that a matcher picks out.

A local policy has a status, a body and header fields of its own; a redirect policy has another place answer. The
matcher sees the head of the response; where a route, its virtual host or its table have matchers too, the most specific
one that has something to say counts. A response that was replaced isn't looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.model.listener import LineFormatter
from meshproxy.model.route import HeaderMutations
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.mutations import apply_mutations
from meshproxy.plugin.replies import LocalReply, ResponseReplaced
from meshproxy.records import dataclass
from meshproxy_filters.http.custom_response_redirect import REDIRECT, Redirected, RedirectPolicy, read_redirect

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView, TypedView

_LOCAL = "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"


@dataclass(frozen=True, slots=True, eq=False)
class LocalPolicy:
    """status: None keeps the response's own. format: makes the body of the text, which is %LOCAL_REPLY_BODY% there."""

    status: int | None
    body: bytes
    format: LineFormatter | None
    mutations: tuple[HeaderMutations, ...]
    details: str = ""
    keeps_details: bool = False


Choose = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, eq=False)
class CustomResponseConfig:
    """choosers: of the policy for a stream, the most specific one first."""

    choosers: tuple[Choose, ...] = ()


class CustomResponse(HttpFilter[CustomResponseConfig]):
    """See the module."""

    stateless = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> CustomResponseConfig:
        matcher = view.view("custom_response_matcher")
        if matcher is None:
            return CustomResponseConfig()
        choose = context.compile_http_matcher(matcher, lambda typed: _read_policy(typed, context), ())
        return CustomResponseConfig((choose,))

    @classmethod
    def merge_levels(cls, configs: Sequence[CustomResponseConfig]) -> CustomResponseConfig:
        return CustomResponseConfig(tuple(choose for config in configs for choose in config.choosers))

    @classmethod
    def merge_route(cls, base: CustomResponseConfig, route: CustomResponseConfig) -> CustomResponseConfig:
        return CustomResponseConfig((*route.choosers, *base.choosers))

    @classmethod
    def is_active(cls, config: CustomResponseConfig) -> bool:
        return bool(config.choosers)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        if stream.redirects is not None and isinstance(stream.redirects.cause, Redirected):
            stream.redirects.cause.shape(response, stream)
            return
        for choose in self.config.choosers:
            policy = choose(stream)
            if isinstance(policy, RedirectPolicy):
                policy.follow(response, stream)
                return
            if policy is not None:
                raise ResponseReplaced(_reply(policy, response, stream))


def _reply(policy: LocalPolicy, response: ResponseHeaders, stream: Stream) -> LocalReply:
    body = policy.body
    headers = Headers()
    if policy.format is not None:
        stream.local_reply_body = body.decode("latin-1")
        body = policy.format(stream).encode("latin-1")
    apply_mutations(policy.mutations, headers, stream)
    status = response.status if policy.status is None else policy.status
    details = stream.details if policy.keeps_details else policy.details
    return LocalReply(status, body, headers=tuple(headers.items()), details=details)


def _read_policy(typed: TypedView, context: FactoryContext) -> LocalPolicy | RedirectPolicy:
    if typed.full_name == REDIRECT:
        return read_redirect(typed.message(REDIRECT), context)
    view = typed.message(_LOCAL)
    status, body = view.view("status_code"), view.view("body")
    mutations = context.compile_header_mutations(view.views("response_headers_to_add"), ())
    form = view.view("body_format")
    return LocalPolicy(
        status.integer("value") if status is not None else None,
        context.compile_data_source(body) if body is not None else b"",
        context.compile_body_format(form) if form is not None else None,
        (mutations,) if mutations is not None else (),
        view.text("response_code_details"),
        view.boolean("preserve_response_code_details"),
    )
