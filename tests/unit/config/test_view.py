from textwrap import dedent

import pytest

from meshproxy.config.text.bootstrap_load import Source, load_message
from meshproxy.errors import ConfigError, Problem
from meshproxy.messages.by_name import message_class
from meshproxy.plugin import ignorable
from meshproxy.plugin.reading_record import recording
from meshproxy.plugin.view import ConfigView, TypedView

CLUSTER = "envoy.config.cluster.v3.Cluster"
ROUTE = "envoy.config.route.v3.Route"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def view_of(full_name: str, text: str) -> ConfigView:
    return load_message(full_name, [Source("x.yaml", dedent(text))]).view


def unread(view: ConfigView) -> list[str]:
    return [str(problem) for problem in view.unread_problems()]


def test_values_and_their_defaults() -> None:
    view = view_of(CLUSTER, "name: a\ntype: STATIC\nconnect_timeout: 1.5s\nper_connection_buffer_limit_bytes: 0\n")
    assert (view.text("name"), view.text("alt_stat_name", "none")) == ("a", "none")
    assert (view.enum("type"), view.enum("lb_policy")) == ("STATIC", "ROUND_ROBIN")
    assert (view.duration("connect_timeout"), view.duration("cleanup_interval")) == (1.5, None)
    assert (view.seconds("connect_timeout", 5.0), view.seconds("cleanup_interval", 5.0)) == (1.5, 5.0)
    assert view.integer("per_connection_buffer_limit_bytes", 7) == 0  # set to its default is set
    assert view.integer("max_requests_per_connection", 7) == 7
    assert view.boolean("respect_dns_ttl") is False
    assert view.unread_problems() == []


def test_percentages_lists_and_maps() -> None:
    view = view_of("envoy.config.core.v3.Node", "id: a\nclient_features: [a, b]\nmetadata: {x: [1, {y: true}]}\n")
    assert view.texts("client_features") == ["a", "b"]
    metadata = view.struct("metadata")
    assert metadata is not None
    assert metadata.value == {"x": [1, {"y": True}]}
    lb = view_of(f"{CLUSTER}.CommonLbConfig", "healthy_panic_threshold: {value: 12.5}\n")
    assert lb.required("healthy_panic_threshold").number("value") == 12.5


def test_what_nothing_read_is_a_problem_at_its_place() -> None:
    view = view_of(
        ROUTE,
        """\
        match: {prefix: /, case_sensitive: false}
        route:
          cluster: web
          retry_policy:
            retry_on: 5xx
            num_retries: 3
        """,
    )
    match, route = view.required("match"), view.required("route")
    assert match.text("prefix") == "/"
    assert route.text("cluster") == "web"
    assert unread(view) == [
        "x.yaml:1:20: match: field 'case_sensitive' in RouteMatch isn't supported by meshproxy",
        "x.yaml:4:3: route: field 'retry_policy' in RouteAction isn't supported by meshproxy",
    ]
    match.boolean("case_sensitive", True)
    route.required("retry_policy").text("retry_on")
    assert unread(view) == [
        "x.yaml:6:5: route.retry_policy: field 'num_retries' in RetryPolicy isn't supported by meshproxy"
    ]


def test_of_views_in_turn_only_what_nothing_read_is_remembered() -> None:
    view = view_of(
        "envoy.config.route.v3.RouteConfiguration",
        """\
        virtual_hosts:
        - {name: a, domains: [a]}
        - {name: b, domains: [b], include_request_attempt_count: true}
        """,
    )
    names = []
    for host in view.views_in_turn("virtual_hosts"):
        names.append(host.text("name"))
        host.texts("domains")
    assert names == ["a", "b"]
    field = "field 'include_request_attempt_count' in VirtualHost isn't supported by meshproxy"
    assert unread(view) == [f"x.yaml:3:27: virtual_hosts[1]: {field}"]


def test_presence_alone_reads_a_message_but_not_its_fields() -> None:
    view = view_of("envoy.config.route.v3.RouteMatch", "prefix: /\ngrpc: {}\ntls_context: {presented: true}\n")
    assert view.which("path_specifier") == "prefix"
    assert view.has("grpc")
    assert view.has("tls_context")
    assert not view.has("safe_regex")
    assert unread(view) == [
        "x.yaml:1:1: field 'prefix' in RouteMatch isn't supported by meshproxy",
        "x.yaml:3:15: tls_context: field 'presented' in TlsContextMatchOptions isn't supported by meshproxy",
    ]


def test_presence_of_a_value_reads_nothing() -> None:
    view = view_of(CLUSTER, "name: a\nconnect_timeout: 1s\nper_connection_buffer_limit_bytes: 5\n")
    assert view.has("connect_timeout")
    assert view.has("per_connection_buffer_limit_bytes")
    assert len(view.unread_problems()) == 3


def test_views_of_one_message_share_their_record() -> None:
    view = view_of(ROUTE, "match: {prefix: /}\nname: a\nnon_forwarding_action: {}\n")
    view.required("match").text("prefix")
    assert view.view("match") is view.view("match")
    view.text("name")
    assert view.which("action") == "non_forwarding_action"
    assert view.unread_problems() == []


def test_extensions_are_unpacked_and_their_fields_count() -> None:
    view = view_of(
        "envoy.config.listener.v3.Filter",
        f"""\
        name: http
        typed_config:
          "@type": type.googleapis.com/{HCM}
          stat_prefix: a
          rds: {{route_config_name: r, config_source: {{ads: {{}}}}}}
        """,
    )
    typed = view.any("typed_config")
    assert isinstance(typed, TypedView)
    assert (typed.full_name, typed.value) == (HCM, None)
    assert typed.message(HCM).text("stat_prefix") == "a"
    assert unread(view) == [
        "x.yaml:1:1: field 'name' in Filter isn't supported by meshproxy",
        "x.yaml:5:3: field 'rds' in HttpConnectionManager isn't supported by meshproxy",
    ]
    with pytest.raises(ConfigError, match=f"a {CLUSTER} is expected here, not a {HCM}"):
        typed.message(CLUSTER)


@pytest.mark.parametrize("wrapper", ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"])
def test_a_typed_struct_has_the_name_inside_and_places(wrapper: str) -> None:
    view = view_of(
        "envoy.config.core.v3.TypedExtensionConfig",
        f"""\
        name: gate
        typed_config:
          "@type": type.googleapis.com/{wrapper}
          type_url: type.meshproxy.dev/acme.TokenGate
          value:
            cluster: tokens
            deny: [/a, /b]
        """,
    )
    typed = view.any("typed_config")
    assert typed is not None
    assert (typed.full_name, typed.view) == ("acme.TokenGate", None)
    assert typed.value == {"cluster": "tokens", "deny": ["/a", "/b"]}
    assert typed.struct is not None
    assert str(typed.struct.error("no", "deny", 1)) == "x.yaml:7:16: deny[1]: no"
    assert str(typed.struct.error("no", "absent")) == "x.yaml:5:3: absent: no"
    assert view.unread_problems() == []  # the name stands in the table of ignorable fields


def test_a_typed_struct_of_envoys_own_message_is_unwrapped() -> None:
    text = """\
        name: fault
        typed_config:
          "@type": type.googleapis.com/udpa.type.v1.TypedStruct
          type_url: type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
          value:
            max_active_faults: 5
            abort: {http_status: 503}
        """
    view = view_of("envoy.config.core.v3.TypedExtensionConfig", text)
    typed = view.any("typed_config")
    assert typed is not None
    fault = typed.message("envoy.extensions.filters.http.fault.v3.HTTPFault")
    assert fault.integer("max_active_faults") == 5
    assert unread(view) == ["x.yaml:7:5: field 'abort' in HTTPFault isn't supported by meshproxy"]
    with pytest.raises(ConfigError, match=r"x\.yaml:7:13: abort.http_status: value must be inside range \[200, 600\)"):
        view_of("envoy.config.core.v3.TypedExtensionConfig", text.replace("503", "42"))
    with pytest.raises(ConfigError, match=r"x\.yaml:7:13: abort: no field 'status' in FaultAbort"):
        view_of("envoy.config.core.v3.TypedExtensionConfig", text.replace("http_status", "status"))


def test_maps_of_messages_and_extensions() -> None:
    view = view_of(
        "envoy.config.route.v3.VirtualHost",
        """\
        name: v
        domains: [a]
        typed_per_filter_config:
          f.x:
            "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
            abort: {http_status: 503}
        metadata: {filter_metadata: {m: {k: v}}}
        """,
    )
    typed = view.any_map("typed_per_filter_config")["f.x"]
    assert typed.path == 'typed_per_filter_config["f.x"]'
    assert str(typed.error("no")) == 'x.yaml:4:3: typed_per_filter_config["f.x"]: no'
    structs = view.required("metadata").struct_map("filter_metadata")
    assert {key: struct.value for key, struct in structs.items()} == {"m": {"k": "v"}}
    assert str(structs["m"].error("no", "k")) == 'x.yaml:7:34: metadata.filter_metadata["m"].k: no'


def test_a_complaint_is_made_once() -> None:
    view = view_of(CLUSTER, "name: a\nlb_policy: MAGLEV\ntype: EDS\neds_cluster_config: {service_name: a}\n")
    assert str(view.error("no MAGLEV here", "lb_policy")) == "x.yaml:2:1: lb_policy: no MAGLEV here"
    assert [str(problem) for problem in view.unsupported("eds_cluster_config", "health_checks")] == [
        "x.yaml:4:1: eds_cluster_config: field 'eds_cluster_config' in Cluster isn't supported by meshproxy"
    ]
    assert [problem.line for problem in view.unread_problems()] == [1, 3]
    with pytest.raises(ConfigError) as caught:
        view.fail("no such cluster")
    assert [str(problem) for problem in caught.value.problems] == ["x.yaml:1:1: no such cluster"]
    assert view.unread_problems() == []


def test_problems_of_a_part_are_collected() -> None:
    view = view_of(ROUTE, "match: {prefix: /, case_sensitive: false}\nroute: {cluster: web}\n")
    problems: list[Problem] = []
    match = view.required("match")
    with match.collect(problems):
        match.fail("not this one", "prefix")
    assert [str(problem) for problem in problems] == ["x.yaml:1:9: match.prefix: not this one"]
    assert [problem.line for problem in view.unread_problems()] == [2]


def test_required_messages() -> None:
    view = view_of(CLUSTER, "name: a\n")
    with pytest.raises(ConfigError, match=r"x\.yaml:1:1: field 'load_assignment' of Cluster is required"):
        view.required("load_assignment")


def test_a_field_that_does_not_exist_is_a_programming_error() -> None:
    view = view_of(CLUSTER, "name: a\n")
    for read in (view.text, view.has, view.view, view.duration):
        with pytest.raises(AttributeError):
            read("nmae")


def test_raw_reads_everything_below() -> None:
    view = view_of(ROUTE, "match: {prefix: /}\nroute: {cluster: web}\n")
    view.required("match")
    assert view.required("match").raw().ListFields()
    assert [problem.line for problem in view.unread_problems()] == [2]


def test_only_what_stands_in_the_table_can_be_ignored() -> None:
    view = view_of("envoy.config.listener.v3.Listener", "name: a\nmax_connections_to_accept_per_socket_event: 5\n")
    view.ignore("max_connections_to_accept_per_socket_event")
    with pytest.raises(ValueError, match=r"Listener.name is not in the table"):
        view.ignore("name")


def test_the_table_names_fields_that_exist() -> None:
    for full_name, fields in ignorable.IGNORABLE.items():
        message_type = message_class(full_name)
        assert message_type is not None, full_name
        known = message_type.DESCRIPTOR.fields_by_name
        assert set(fields) <= set(known), full_name
        assert all(reason.strip() for reason in fields.values()), full_name


def test_without_places_problems_name_the_source() -> None:
    message_type = message_class(CLUSTER)
    assert message_type is not None
    view = ConfigView(message_type(name="a", respect_dns_ttl=True), path="a", source="cds")
    assert unread(view) == [
        "cds: a: field 'name' in Cluster isn't supported by meshproxy",
        "cds: a: field 'respect_dns_ttl' in Cluster isn't supported by meshproxy",
    ]


def test_readings_are_recorded_only_while_asked_for() -> None:
    view = view_of(CLUSTER, "name: a\n")
    view.text("name")
    with recording() as record:
        view.duration("connect_timeout")
        view.view("load_assignment")
    view.text("alt_stat_name")
    assert record == {(CLUSTER, "connect_timeout"), (CLUSTER, "load_assignment")}
