"""What `tests.parity.compare` makes of a configuration: the requests, and the configuration that runs here."""

import re

import pytest

from tests.parity.generate.comparison import generated
from tests.parity.own.adapt import adapt
from tests.parity.own.requests import of_route_table
from tests.parity.own.samples import of_domain, of_header_match, of_regex, of_string_match


@pytest.mark.parametrize(
    "pattern",
    [
        "/a",
        "/item/[0-9]+(/.*)?",
        "^/(en|de)/x$",
        r"/\d{3}-\w+",
        "[^a]b",
        "(?i)/Up",
        "a{2,4}",
        "[abc]?",
        r"v1\.[^/]+",
        "(?:x|y)*z",
    ],
)
def test_a_sample_of_a_regex_matches_it(pattern: str) -> None:
    assert re.fullmatch(pattern, of_regex(pattern))


def test_what_matchers_take() -> None:
    assert of_string_match({"suffix": ".png"}).endswith(".png")
    assert of_string_match({"exact": "x"}) == "x"
    assert of_header_match({"name": "a", "present_match": False}) is None
    assert of_header_match({"name": "a", "string_match": {"exact": "x"}, "invert_match": True}) is None
    assert of_header_match({"name": "a", "range_match": {"start": 3, "end": 5}}) == "3"
    assert (of_header_match({"name": "a", "prefix_match": "v"}) or "").startswith("v")
    assert of_domain("*.shop.test") == "some.shop.test"


def test_requests_fit_a_route_and_nearly_fit_it() -> None:
    match = {
        "prefix": "/api",
        "headers": [
            {"name": "X-V", "string_match": {"exact": "2"}},
            {"name": ":method", "string_match": {"exact": "PUT"}},
        ],
        "query_parameters": [{"name": "q", "string_match": {"exact": "a b"}}],
    }
    table = {"virtual_hosts": [{"name": "v", "domains": ["a.test"], "routes": [{"match": match}]}]}
    requests = {request.why: request for request in of_route_table(table)}
    fitting = requests["v/0"]
    assert (fitting.method, fitting.host, fitting.target) == ("PUT", "a.test", "/api?q=a%20b")
    assert fitting.headers == (("x-v", "2"),)
    assert requests["v/0: without x-v"].headers == ()
    assert requests["v/0: another x-v"].headers != fitting.headers
    assert requests["v/0: less of the path"].path == "/ap"
    assert requests["v/0: without its query"].target == "/api"
    assert requests["v/0: another method"].method == "GET"
    assert requests["no such host"].host == "nowhere.invalid"


def test_a_configuration_is_made_to_run_here_and_by_no_chance() -> None:
    host = {"endpoint": {"address": {"socket_address": {"address": "away.test", "port_value": 80}}}}
    action = {"weighted_clusters": {"clusters": [{"name": "c", "weight": 1}, {"name": "d", "weight": 3}]}}
    route = {"match": {"runtime_fraction": {"default_value": {"numerator": 30}}}, "route": action}
    table = {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]}
    manager = {"@type": "x/envoy.http_connection_manager.v3.HttpConnectionManager", "route_config": table}
    config = {
        "static_resources": {
            "listeners": [
                {"address": {"pipe": {"path": "/x"}}, "filter_chains": [{"filters": [{"typed_config": manager}]}]}
            ],
            "clusters": [{"name": "c", "load_assignment": {"endpoints": [{"lb_endpoints": [host, host]}]}}],
        }
    }
    adapted = adapt(config)
    listener = adapted.config["static_resources"]["listeners"][0]
    assert listener["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": "$port"}}
    assert list(adapted.upstreams) == ["up1", "up2"]
    (entrance,) = adapted.entrances
    settled = entrance.manager["route_config"]["virtual_hosts"][0]["routes"][0]
    assert settled["match"]["runtime_fraction"]["default_value"]["numerator"] == 100
    assert [each["weight"] for each in settled["route"]["weighted_clusters"]["clusters"]] == [4, 0]
    assert host["endpoint"]["address"]["socket_address"]["address"] == "away.test"


def test_names_may_be_in_camel_case() -> None:
    manager = {"@type": "x/envoy.http_connection_manager.v3.HttpConnectionManager", "routeConfig": {"virtualHosts": []}}
    chain = {"filters": [{"typedConfig": manager}]}
    adapted = adapt({"staticResources": {"listeners": [{"filterChains": [chain], "metadata": {"someKey": {"aB": 1}}}]}})
    (entrance,) = adapted.entrances
    assert entrance.manager["route_config"] == {"virtual_hosts": []}
    assert adapted.config["static_resources"]["listeners"][0]["metadata"] == {"someKey": {"aB": 1}}


def test_a_seed_always_makes_the_same_configuration_and_requests() -> None:
    one, again, other = generated(3, most=4), generated(3, most=4), generated(4, most=4)
    assert (one.config, [client.ops for client in one.clients]) == (
        again.config,
        [client.ops for client in again.clients],
    )
    assert one.config != other.config
