"""gRPC services that are named by their address: the cluster that each of them gets."""

from __future__ import annotations

import pytest

from meshproxy.model.snapshot import Snapshot
from tests.unit.config_compile.compiling import compile_text, problems_of

_ADS = """
node: {{id: a, cluster: b}}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{{google_grpc: {{stat_prefix: x, {}}}}}]
"""
_ARGUMENT = "{args: {grpc.max_receive_message_length: {int_value: 9}}}"


def _config(fields: str) -> str:
    return _ADS.format(fields)


def _snapshot(fields: str) -> Snapshot:
    return compile_text(_config(fields))


@pytest.mark.parametrize(
    ("target", "kind", "address", "authority"),
    [
        ("127.0.0.1:9191", "STATIC", "127.0.0.1:9191", "127.0.0.1:9191"),
        ("ipv4:127.0.0.1:9191", "STATIC", "127.0.0.1:9191", "127.0.0.1:9191"),
        ("ipv6:[::1]:9191", "STATIC", "[::1]:9191", "[::1]:9191"),
        ("opa", "STRICT_DNS", "opa:443", "opa"),
        ("dns:///opa.test:9", "STRICT_DNS", "opa.test:9", "opa.test:9"),
        ("unix:///run/opa.sock", "STATIC", "/run/opa.sock", "localhost"),
        ("unix:opa.sock", "STATIC", "opa.sock", "localhost"),
    ],
)
def test_targets(target: str, kind: str, address: str, authority: str) -> None:
    snapshot = _snapshot(f"target_uri: '{target}'")
    ads = snapshot.dynamic.ads
    assert ads is not None
    assert ads.grpc is not None
    (own,) = snapshot.own_clusters.values()
    assert (own.type, own.endpoints[0].address.text) == (kind, address)
    assert (ads.grpc.cluster, ads.grpc.authority, ads.grpc.own) == (own.name, authority, own)
    assert own.transport_socket is None


def test_credentials_and_the_size_of_messages() -> None:
    more = f"call_credentials: [{{access_token: t}}], channel_args: {_ARGUMENT}"
    ads = _snapshot(f"target_uri: 'opa.test:9', {more}").dynamic.ads
    assert ads is not None
    assert ads.grpc is not None
    assert ads.grpc.initial_metadata == (("authorization", "Bearer t"),)
    assert ads.grpc.max_message == 9


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("target_uri: 'xds:///a'", "is no address"),
        ("target_uri: 'a:70000'", "is no address"),
        ("target_uri: a, channel_credentials: {ssl_credentials: {}}", "root_certs are needed"),
        ("target_uri: a, channel_credentials: {google_default: {}}", "only ssl_credentials"),
        ("target_uri: a, call_credentials: [{google_compute_engine: {}}]", "only access_token"),
        ("target_uri: a, channel_args: {args: {grpc.lb_policy_name: {string_value: x}}}", "isn't supported"),
    ],
)
def test_what_there_is_not_is_refused(fields: str, says: str) -> None:
    found = problems_of(_config(fields))
    assert [problem for problem in found if says in problem and "envoy.yaml:" in problem], found
