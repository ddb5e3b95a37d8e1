"""What a compiled route table holds."""

import random
from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.headers import RequestHeaders
from meshproxy.model.listener import FilterSpec
from meshproxy.model.route import FILTER_DISABLED, FILTER_ENABLED, ForwardAction, Route
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo, TlsInfo
from meshproxy.plugin.view import ConfigView
from tests.unit.config_compile.compiling import make_context
from tests.unit.config_compile.routing_of import compile_table


def table_of(routes: str, host: str = "", table: str = "", **settings: Any) -> tuple[Route, ...]:
    text = (
        f"validate_clusters: false\n{table}\nvirtual_hosts:\n- name: v\n  domains: ['*']\n{host}\n  routes:\n{routes}"
    )
    return compile_table(text, **settings).virtual_hosts[0].routes


def condition_holds(match: str, request: RequestHeaders, stream: StreamInfo | None = None) -> bool:
    (route,) = table_of(f"  - {{match: {{prefix: /, {match}}}, route: {{cluster: c}}}}")
    return all(condition(request, stream or StreamInfo()) for condition in route.conditions)


ADD = "{header: {key: %s, value: %s}}"
LEVELS = {
    "routes": "  - {match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [%s]}" % (ADD % ("r", "x")),
    "host": "  request_headers_to_add: [%s]" % (ADD % ("v", "x")),
    "table": "request_headers_to_add: [%s]" % (ADD % ("t", "x")),
}


@pytest.mark.parametrize(("flag", "order"), [("false", "rvt"), ("true", "tvr")])
def test_header_changes_apply_level_by_level(flag: str, order: str) -> None:
    levels = LEVELS | {"table": f"{LEVELS['table']}\nmost_specific_header_mutations_wins: {flag}"}
    (route,) = table_of(**levels)
    assert [level.add[0].name for level in route.request_mutations] == list(order)
    assert route.response_mutations == ()


def test_header_values_are_constants_or_functions() -> None:
    (route,) = table_of(
        "  - match: {prefix: /}\n    route: {cluster: c}\n    response_headers_to_remove: [A-b]\n"
        "    response_headers_to_add:\n"
        "    - {header: {key: X-One, value: plain}, append: false}\n"
        "    - {header: {key: x-two, value: '%PROTOCOL%'}, append_action: ADD_IF_ABSENT, keep_empty_value: true}"
    )
    (level,) = route.response_mutations
    one, two = level.add
    assert level.remove == ("a-b",)
    assert (one.name, one.constant, one.action, one.format_value) == (
        "x-one",
        "plain",
        "OVERWRITE_IF_EXISTS_OR_ADD",
        None,
    )
    assert (two.constant, two.action, two.keep_empty_value) == (None, "ADD_IF_ABSENT", True)
    assert two.format_value is not None
    assert two.format_value(StreamInfo()) == "%PROTOCOL%"


_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"


def config(text: str) -> str:
    return f"typed_per_filter_config: {{f: {{'@type': {text}}}}}"


class Named(HttpFilter[str]):
    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> str:
        return view.text("name")


NAMED = "type.googleapis.com/envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter, name: "
DISABLED = f"{_CONFIG}, disabled: true"
ENABLED = f"{_CONFIG}, config: {{}}"


@pytest.mark.parametrize(
    ("table", "host", "route", "expected"),
    [
        (NAMED + "t", NAMED + "v", NAMED + "r", "r"),
        (NAMED + "t", NAMED + "v", "", "v"),
        (NAMED + "t", "", "", "t"),
        (NAMED + "t", DISABLED, "", FILTER_DISABLED),
        (NAMED + "t", DISABLED, NAMED + "r", "r"),
        (NAMED + "t", DISABLED, ENABLED, "t"),
        ("", "", ENABLED, FILTER_ENABLED),
        (DISABLED, "", f"{_CONFIG}, config: {{'@type': {NAMED}inner}}", "inner"),
    ],
)
def test_the_most_specific_level_decides(table: str, host: str, route: str, expected: object) -> None:
    specs = [FilterSpec("f", Named, "own", None)]
    (compiled,) = table_of(
        f"  - match: {{prefix: /}}\n    route: {{cluster: c}}\n    {config(route) if route else ''}",
        f"  {config(host)}" if host else "",
        config(table) if table else "",
        filters=specs,
    )
    assert compiled.per_filter_config == {"f": expected}


def test_a_weighted_cluster_is_more_specific_than_its_route() -> None:
    (route,) = table_of(
        "  - match: {prefix: /}\n    route: {weighted_clusters: {clusters: [{name: a, weight: 1, "
        + config(NAMED + "a")
        + "}, {name: b, weight: 2}]}}\n    "
        + config(NAMED + "r"),
        filters=[FilterSpec("f", Named, "own", None)],
    )
    assert isinstance(route.action, ForwardAction)
    first, second = route.action.weighted_clusters
    assert (first.per_filter_config, second.per_filter_config) == ({"f": "a"}, {})
    assert route.per_filter_config == {"f": "r"}
    assert route.action.total_weight == 3


def test_configuration_for_a_filter_that_is_not_there_is_a_warning() -> None:
    context = make_context()
    (route,) = table_of(
        f"  - match: {{prefix: /}}\n    route: {{cluster: c}}\n    {config(NAMED + 'r')}", context=context
    )
    assert route.per_filter_config == {}
    assert [str(warning) for warning in context.warnings if "no filter is called 'f'" in str(warning)]


def test_the_retry_policy_of_the_host_is_inherited_whole() -> None:
    own, inherited = table_of(
        "  - {match: {prefix: /a}, route: {cluster: c, retry_policy: {retry_on: reset}}}\n"
        "  - {match: {prefix: /}, route: {cluster: c}}",
        "  retry_policy: {retry_on: 'connect-failure,gateway-error', num_retries: 5}",
    )
    assert isinstance(own.action, ForwardAction)
    assert isinstance(inherited.action, ForwardAction)
    assert own.action.retry_policy is not None
    assert inherited.action.retry_policy is not None
    assert own.action.retry_policy.retry_on == {"reset"}
    assert own.action.retry_policy.num_retries == 1
    assert inherited.action.retry_policy.retry_on == {"connect-failure", "gateway-error"}
    assert inherited.action.retry_policy.num_retries == 5


def test_a_condition_that_retries_do_not_know_is_a_warning() -> None:
    context = make_context()
    table_of("  - {match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: gateway-eror}}}", context=context)
    assert "did you mean 'gateway-error'" in str(context.warnings[0])


def test_runtime_values_replace_weights_and_shares() -> None:
    context = make_context(runtime={"w.a": 7, "share": 100})
    first, second = table_of(
        "  - {match: {prefix: /, runtime_fraction: {default_value: {numerator: 0}, runtime_key: share}}, "
        "route: {cluster: c}}\n"
        "  - {match: {prefix: /}, route: {weighted_clusters: {runtime_key_prefix: w, clusters: "
        "[{name: a, weight: 1}, {name: b, weight: 1}]}}}",
        context=context,
    )
    assert first.conditions[0](RequestHeaders(), StreamInfo())
    assert isinstance(second.action, ForwardAction)
    assert [weight.value for weight in second.action.weights] == [7, 1]
    context.runtime.replace({"w.b": 3, "share": 0})
    assert [weight.value for weight in second.action.weights] == [1, 3]
    assert not first.conditions[0](RequestHeaders(), StreamInfo())


def test_shares_of_one_request_nest() -> None:
    """Routes for 10 % and 30 % and the rest get 10, 20 and 70 % of requests, because all compare one number."""
    share = "runtime_fraction: {default_value: {numerator: %d}}"
    tenth, third = table_of(
        "\n".join(f"  - {{match: {{prefix: /, {share % n}}}, route: {{cluster: c}}}}" for n in (10, 30)),
        context=make_context(rng=random.Random(7)),
    )
    counts = [0, 0, 0]
    for _ in range(5000):
        stream = StreamInfo()
        chosen = next((i for i, r in enumerate((tenth, third)) if r.conditions[0](RequestHeaders(), stream)), 2)
        counts[chosen] += 1
    assert [round(count / 5000, 1) for count in counts] == [0.1, 0.2, 0.7]


@pytest.mark.parametrize(
    ("match", "request_", "expected"),
    [
        ("grpc: {}", {"content-type": "application/grpc"}, True),
        ("grpc: {}", {"content-type": "application/grpc+proto"}, True),
        ("grpc: {}", {"content-type": "application/grpc-web"}, False),
        ("grpc: {}", {}, False),
        ("headers: [{name: a, string_match: {exact: b}}]", {"a": "b"}, True),
        ("headers: [{name: a, string_match: {exact: b}}, {name: c}]", {"a": "b"}, False),
        ("headers: [{name: a, invert_match: true}]", {}, True),
    ],
)
def test_conditions_on_the_head(match: str, request_: dict[str, str], expected: bool) -> None:
    request = RequestHeaders(path="/x?q=1&r", fields=request_.items())
    assert condition_holds(match, request) is expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("query_parameters: [{name: q, string_match: {exact: '1'}}, {name: r}]", True),
        ("query_parameters: [{name: q, string_match: {exact: '2'}}]", False),
        ("query_parameters: [{name: z, present_match: false}]", True),
    ],
)
def test_conditions_on_the_query(match: str, expected: bool) -> None:
    assert condition_holds(match, RequestHeaders(path="/x?q=1&r")) is expected


def test_conditions_on_the_stream() -> None:
    stream = StreamInfo()
    stream.set_metadata("ns", "claims", {"groups": ["a", "b"], "admin": True, "num": 3, "empty": None})
    stream.set_filter_state("who", "10.1.2.3:80")

    def holds(match: str) -> bool:
        return condition_holds(match, RequestHeaders(), stream)

    def metadata(key: str, value: str) -> bool:
        path = f"[{{key: claims}}, {{key: {key}}}]"
        return holds(f"dynamic_metadata: [{{filter: ns, path: {path}, value: {{{value}}}}}]")

    assert metadata("groups", "list_match: {one_of: {string_match: {exact: b}}}")
    assert not metadata("groups", "list_match: {one_of: {string_match: {exact: z}}}")
    assert metadata("admin", "bool_match: true")
    assert metadata("num", "double_match: {range: {start: 3, end: 4}}")
    assert not metadata("num", "double_match: {exact: 4}")
    assert metadata("empty", "null_match: {}")
    assert not metadata("nothing", "present_match: false")
    assert metadata("admin", "or_match: {value_matchers: [{bool_match: false}, {bool_match: true}]}")
    assert holds("filter_state: [{key: who, address_match: {ranges: [{address_prefix: 10.1.0.0, prefix_len: 16}]}}]")
    assert holds("filter_state: [{key: who, string_match: {prefix: '10.'}}]")
    assert not holds("filter_state: [{key: nobody, string_match: {prefix: x}}]")


def test_conditions_on_the_certificate() -> None:
    plain, presented = StreamInfo(), StreamInfo()
    presented.connection = ConnectionInfo()
    presented.connection.tls = TlsInfo()
    presented.connection.tls.peer_presented = True

    def holds(match: str, stream: StreamInfo) -> bool:
        return condition_holds(f"tls_context: {{{match}}}", RequestHeaders(), stream)

    assert holds("presented: true", presented)
    assert not holds("presented: true", plain)
    assert holds("presented: false", plain)
    assert not holds("presented: false", presented)
    assert not holds("validated: true", presented)
    assert holds("presented: true, validated: false", presented)


def test_what_a_host_says_stands_in_each_route() -> None:
    table = compile_table(
        "{name: t, ignore_port_in_host_matching: true, validate_clusters: false, internal_only_headers: [X-In], "
        "virtual_hosts: [{name: v, domains: [A.Test, '*.B'], require_tls: EXTERNAL_ONLY, "
        "include_request_attempt_count: true, request_body_buffer_limit: 9, metadata: {filter_metadata: {a: {b: 1}}}, "
        "routes: [{name: r, match: {path: /A, case_sensitive: false}, route: {cluster_header: X-C, timeout: 0s}}]}]}"
    )
    (host,) = table.virtual_hosts
    (route,) = host.routes
    assert (table.name, table.ignore_port_in_host_matching, table.internal_only_headers) == ("t", True, ("x-in",))
    assert (host.domains, host.require_tls, host.metadata) == (("a.test", "*.b"), "EXTERNAL_ONLY", {"a": {"b": 1}})
    assert (route.virtual_host, route.name, route.include_request_attempt_count, route.request_buffer_limit) == (
        "v",
        "r",
        True,
        9,
    )
    assert (route.match.kind, route.match.value, route.match.case_sensitive) == ("path", "/a", False)
    assert isinstance(route.action, ForwardAction)
    assert (route.action.cluster_header, route.action.timeout) == ("x-c", 0.0)


def test_the_older_grpc_timeout_counts_without_the_newer() -> None:
    old, new = table_of(
        "  - {match: {prefix: /}, route: {cluster: c, max_grpc_timeout: 3s, grpc_timeout_offset: 1s}}\n"
        "  - match: {prefix: /}\n"
        "    route: {cluster: c, max_grpc_timeout: 3s, max_stream_duration: {max_stream_duration: 2s}}"
    )
    assert isinstance(old.action, ForwardAction)
    assert isinstance(new.action, ForwardAction)
    assert (old.action.max_grpc_timeout, old.action.grpc_timeout_offset) == (3.0, 1.0)
    assert (new.action.max_grpc_timeout, new.action.max_stream_duration) == (None, 2.0)


def test_every_fault_of_a_table_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        table_of(
            "  - {match: {prefix: /, headers: [{name: a, safe_regex_match: {regex: '('}}]}, route: {cluster: c}}\n"
            "  - {match: {safe_regex: {regex: '['}}, route: {cluster: c}}\n"
            "  - {match: {prefix: /}, route: {cluster: c, "
            "hash_policy: [{header: {header_name: a, regex_rewrite: {pattern: {regex: '('}}}}]}}",
            "  rate_limits: [{actions: [{extension: {name: x, typed_config: "
            "{'@type': type.googleapis.com/google.protobuf.Struct}}}]}]",
        )
    places = [(problem.line, problem.path.rpartition(".")[2]) for problem in caught.value.problems]
    assert places == [(6, "extension"), (8, "regex"), (9, "regex"), (10, "regex_rewrite")]
