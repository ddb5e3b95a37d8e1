"""Which requests a route is for (envoy.config.route.v3.RouteMatch): one matcher of the path, and conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshproxy.config.http.retries import of_request
from meshproxy.config.matching.matchers import (
    compile_header_matcher,
    compile_query_matcher,
    compile_regex_matcher,
    compile_runtime_fraction,
    compile_string_matcher,
)
from meshproxy.config.matching.stream_matchers import (
    StreamTest,
    compile_dynamic_metadata_matcher,
    compile_filter_state_matcher,
)
from meshproxy.config.values.context import CompileContext
from meshproxy.cookies import parse_cookies
from meshproxy.headers import RequestHeaders
from meshproxy.matching import QueryMatcher, parse_query, wire_text
from meshproxy.model.route import PathMatch, RequestPredicate
from meshproxy.plugin.path_template import read_path_template
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.view import ConfigView


def compile_path_match(view: ConfigView) -> PathMatch:
    """The `path_specifier`. Raises ConfigError."""
    kind = view.which("path_specifier")
    case_sensitive = view.boolean("case_sensitive", True)
    if kind == "safe_regex":
        return PathMatch("regex", case_sensitive=True, matches=compile_regex_matcher(view.required("safe_regex")))
    if kind == "path_match_policy":
        template = read_path_template(view.required(kind))
        return PathMatch("regex", matches=template.matches, template=template)
    if kind == "connect_matcher":
        return PathMatch("connect")
    if kind not in ("prefix", "path", "path_separated_prefix"):
        view.fail(f"'{kind}' isn't supported by meshproxy" if kind else "a route needs a path to match", kind or "")
    value = wire_text(view.text(kind))
    return PathMatch(kind, value if case_sensitive else value.lower(), case_sensitive)


def compile_conditions(view: ConfigView, context: CompileContext) -> tuple[RequestPredicate, ...]:
    """All that a route asks beside the path, in the order in which Envoy asks. Raises ConfigError."""
    conditions: list[RequestPredicate] = []
    fraction = view.view("runtime_fraction")
    if fraction is not None:
        conditions.append(_in_fraction(fraction, context))
    if view.has("grpc"):
        conditions.append(_is_grpc)
    conditions += _compile_fields(view)
    cookies = tuple(_compile_cookie_matcher(entry) for entry in view.views("cookies"))
    if cookies:
        conditions.append(_of_cookies(cookies))
    tls = view.view("tls_context")
    if tls is not None:
        conditions += _compile_tls(tls)
    conditions += [_of_stream(compile_dynamic_metadata_matcher(entry)) for entry in view.views("dynamic_metadata")]
    conditions += [_of_stream(compile_filter_state_matcher(entry)) for entry in view.views("filter_state")]
    return tuple(conditions)


def _compile_fields(view: ConfigView) -> list[RequestPredicate]:
    """What is asked of header fields and of the query."""
    conditions = [of_request(compile_header_matcher(entry)) for entry in view.views("headers")]
    queries = tuple(compile_query_matcher(entry) for entry in view.views("query_parameters"))
    return [*conditions, _of_query(queries)] if queries else conditions


def _in_fraction(view: ConfigView, context: CompileContext) -> RequestPredicate:
    covers = compile_runtime_fraction(view, context).covers
    draw = context.rng.getrandbits

    def condition(request: RequestHeaders, stream: StreamInfo) -> bool:
        # All fractions of one request compare the same number, so that a route for 10 % and one for 20 % nest.
        number = stream.random_number
        if number < 0:
            number = stream.random_number = draw(63)
        return covers(number)

    return condition


def _is_grpc(request: RequestHeaders, stream: Any) -> bool:
    """The content type is application/grpc, with or without a suffix such as +proto."""
    content_type = request.get("content-type") or ""
    return content_type.startswith("application/grpc") and content_type[16:17] in ("", "+")


def _of_query(queries: tuple[QueryMatcher, ...]) -> RequestPredicate:
    def condition(request: RequestHeaders, stream: Any) -> bool:
        parameters = parse_query(request.path)
        return all(matches(parameters) for matches in queries)

    return condition


_CookieTest = Callable[[Mapping[str, str]], bool]


def _compile_cookie_matcher(view: ConfigView) -> _CookieTest:
    """One of `cookies`. A cookie that isn't there matches only if the matcher is inverted."""
    name = wire_text(view.text("name"))
    matches = compile_string_matcher(view.required("string_match"))
    inverted = view.boolean("invert_match")

    def test(cookies: Mapping[str, str]) -> bool:
        value = cookies.get(name)
        return (value is not None and matches(value)) is not inverted

    return test


def _of_cookies(tests: tuple[_CookieTest, ...]) -> RequestPredicate:
    def condition(request: RequestHeaders, stream: Any) -> bool:
        cookies = parse_cookies(request)
        return all(test(cookies) for test in tests)

    return condition


def _of_stream(test: StreamTest) -> RequestPredicate:
    def condition(request: RequestHeaders, stream: StreamInfo) -> bool:
        return test(stream)

    return condition


def _compile_tls(view: ConfigView) -> list[RequestPredicate]:
    conditions: list[RequestPredicate] = []
    if view.has("presented"):
        presented = view.boolean("presented")
        conditions.append(
            lambda request, stream: ((tls := stream.connection.tls) is not None and tls.peer_presented) is presented
        )
    if view.has("validated"):
        validated = view.boolean("validated")
        conditions.append(
            lambda request, stream: ((tls := stream.connection.tls) is not None and tls.peer_validated) is validated
        )
    return conditions


def compile_request_match(view: ConfigView) -> RequestPredicate:
    """A `RouteMatch` as one predicate, for filters whose rules are written with it. Raises ConfigError.

    Such rules are about path, headers and query: Envoy passes over what else they ask, so that it is refused here.
    A request without a path (CONNECT) matches nothing but `connect_matcher`.
    """
    on_path = _compile_path_test(compile_path_match(view))
    conditions = _compile_fields(view)

    def matches(request: RequestHeaders, stream: StreamInfo) -> bool:
        return on_path(request) and all(condition(request, stream) for condition in conditions)

    return matches


def _compile_path_test(match: PathMatch) -> Callable[[RequestHeaders], bool]:
    if match.kind == "connect":
        return lambda request: request.method == "CONNECT"
    test = match.matches or _text_test(match.kind, match.value)
    fold = not match.case_sensitive and match.matches is None

    def matches(request: RequestHeaders) -> bool:
        path = request.path.partition("?")[0].partition("#")[0]
        return bool(path) and test(path.lower() if fold else path)

    return matches


def _text_test(kind: str, value: str) -> Callable[[str], bool]:
    if kind == "prefix":
        return lambda path: path.startswith(value)
    if kind == "path":
        return value.__eq__
    return lambda path: path.startswith(value) and path[len(value) : len(value) + 1] in ("", "/")
