"""`envoy.filters.http.header_mutation`: changes headers and trailers of messages and queries, step by step.

The steps are applied in the order in which they are written, so that a later one sees what an earlier one did. What a
route, its virtual host and its table say is applied after the filter's own, the most specific first, or last with
`most_specific_header_mutations_wins`. A header that is overwritten goes to the end, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders, check_name, check_value
from meshproxy.matching import StringMatcher
from meshproxy.model.route import HeaderAddition
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.records import dataclass
from meshproxy_filters.http.query_mutation import QueryStep, mutate_query, read_query_step

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

Step = Callable[[Headers, Stream], None]


@dataclass(frozen=True, slots=True)
class Steps:
    """What one level says."""

    request: tuple[Step, ...] = ()
    request_trailers: tuple[Step, ...] = ()
    response: tuple[Step, ...] = ()
    response_trailers: tuple[Step, ...] = ()
    query: tuple[QueryStep, ...] = ()

    def joined(self, others: Sequence[Steps]) -> Steps:
        """These steps and then those of `others`."""
        every = (self, *others)
        return Steps(
            tuple(step for steps in every for step in steps.request),
            tuple(step for steps in every for step in steps.request_trailers),
            tuple(step for steps in every for step in steps.response),
            tuple(step for steps in every for step in steps.response_trailers),
            tuple(step for steps in every for step in steps.query),
        )


@dataclass(frozen=True, slots=True, eq=False)
class HeaderMutationConfig:
    """steps: all that apply, in order. levels: of a route's configuration, the most specific first."""

    steps: Steps
    most_specific_wins: bool = False
    levels: tuple[Steps, ...] = ()


class RequestMutation(HttpFilter[HeaderMutationConfig]):
    """A `HeaderMutation` that leaves responses and all trailers alone."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> HeaderMutationConfig:
        return HeaderMutationConfig(_read(view, context), view.boolean("most_specific_header_mutations_wins"))

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> HeaderMutationConfig:
        """`HeaderMutationPerRoute`."""
        return HeaderMutationConfig(Steps(), levels=(_read(view, context),))

    @classmethod
    def merge_levels(cls, configs: Sequence[HeaderMutationConfig]) -> HeaderMutationConfig:
        return replace(configs[0], levels=tuple(steps for config in configs for steps in config.levels))

    @classmethod
    def merge_route(cls, base: HeaderMutationConfig, route: HeaderMutationConfig) -> HeaderMutationConfig:
        levels = route.levels[::-1] if base.most_specific_wins else route.levels
        return HeaderMutationConfig(base.steps.joined(levels))

    @classmethod
    def is_active(cls, config: HeaderMutationConfig) -> bool:
        steps = config.steps
        return steps != Steps()

    @classmethod
    def for_config(cls, config: HeaderMutationConfig) -> type[RequestMutation]:
        steps = config.steps
        return (
            HeaderMutation if steps.response or steps.request_trailers or steps.response_trailers else RequestMutation
        )

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        for step in self.config.steps.request:
            step(request, stream)
        if self.config.steps.query:
            mutate_query(request, self.config.steps.query, stream)


class HeaderMutation(RequestMutation):
    """See the module."""

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> None:
        for step in self.config.steps.request_trailers:
            step(trailers, stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        for step in self.config.steps.response:
            step(response, stream)

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        for step in self.config.steps.response_trailers:
            step(trailers, stream)


def _read(view: ConfigView, context: FactoryContext) -> Steps:
    mutations = view.view("mutations")
    if mutations is None:
        return Steps()

    def steps(name: str) -> tuple[Step, ...]:
        return tuple(_read_step(entry, context) for entry in mutations.views(name))

    return Steps(
        request=steps("request_mutations"),
        request_trailers=steps("request_trailers_mutations"),
        response=steps("response_mutations"),
        response_trailers=steps("response_trailers_mutations"),
        query=tuple(read_query_step(entry, context) for entry in mutations.views("query_parameter_mutations")),
    )


def _read_step(view: ConfigView, context: FactoryContext) -> Step:
    match view.which("action"):
        case "remove":
            return _removal(_checked_name(view, view.text("remove")))
        case "remove_on_match":
            return _matching_removal(
                context.compile_string_matcher(view.required("remove_on_match").required("key_matcher"))
            )
        case "append":
            option = view.required("append")
            _checked_name(option, option.required("header").text("key"))
            compiled = context.compile_header_mutations([option], [])
            if compiled is None:
                option.fail("it changes nothing")
            return _addition(compiled.add[0])
        case _:
            view.fail("one of 'remove', 'append' and 'remove_on_match' is required")


def _checked_name(view: ConfigView, name: str) -> str:
    if name.startswith(":") or name.lower() == "host":
        view.fail(":-prefixed or host headers may not be modified")
    try:
        return check_name(name)
    except ValueError as error:
        view.fail(str(error))


def _removal(name: str) -> Step:
    def remove(headers: Headers, stream: Stream) -> None:
        headers.remove(name)

    return remove


def _matching_removal(matches: StringMatcher) -> Step:
    def remove(headers: Headers, stream: Stream) -> None:
        for name in {name for name in headers if matches(name)}:
            headers.remove(name)

    return remove


def _addition(addition: HeaderAddition) -> Step:
    name, constant, format_value, action = addition.name, addition.constant, addition.format_value, addition.action
    keep_empty = addition.keep_empty_value

    def add(headers: Headers, stream: Stream) -> None:
        value = constant
        if value is None:
            assert format_value is not None
            try:
                value = check_value(format_value(stream))
            except ValueError:
                return  # it was made of what a peer sent, and can't be a header's value
        if not value and not keep_empty:
            return
        if name in headers.fields:
            if action == "ADD_IF_ABSENT":
                return
            if action != "APPEND_IF_EXISTS_OR_ADD":
                headers.remove(name)
        elif action == "OVERWRITE_IF_EXISTS":
            return
        headers.append_checked(name, value)

    return add
