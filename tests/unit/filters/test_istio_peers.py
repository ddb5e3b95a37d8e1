"""How Istio's sidecars tell each other who they are: in headers, and first on TCP connections."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.model.snapshot import Node
from meshproxy.plugin.peer_exchange import PeerPart, own_part
from meshproxy.plugin.workload import NO_PEER, Peer, Workload, from_struct, peer_in, to_struct
from meshproxy.testing import Exchange, FilterHarness, NetworkHarness
from meshproxy.testing.stream import HarnessStream
from meshproxy_filters.http.peer_metadata import PeerMetadata
from meshproxy_filters.network.echo import Echo
from meshproxy_filters.network.metadata_exchange import MetadataExchange

METADATA = {
    "NAME": "web-1",
    "NAMESPACE": "shop",
    "WORKLOAD_NAME": "web",
    "CLUSTER_ID": "k1",
    "OWNER": "kubernetes://apis/apps/v1/namespaces/shop/deployments/web",
    "LABELS": {"app": "web-app", "version": "v2", "service.istio.io/canonical-name": "web-svc", "team": "red"},
    "ISTIO_VERSION": "1.27.1",
}
NODE = Node(id="sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local", metadata=METADATA)
WEB = Workload("web", "shop", "web-svc", "", "k1", "web-app", "v2", "web-1", "deployment")
CART = Workload("cart", "shop", "cart", "latest", "k1", "cart", "v1", "cart-5", "deployment")

ID, PEER = "x-envoy-peer-metadata-id", "x-envoy-peer-metadata"
HEADERS: dict[str, Any] = {"istio_headers": {}}
INBOUND = {
    "downstream_discovery": [HEADERS, {"workload_discovery": {}}],
    "downstream_propagation": [HEADERS],
}
OUTBOUND = {
    "upstream_discovery": [HEADERS, {"workload_discovery": {}}],
    "upstream_propagation": [HEADERS],
}


def encoded(workload: Workload) -> str:
    return base64.b64encode(to_struct(workload.metadata())).decode()


def decoded(text: str) -> Workload:
    metadata = from_struct(base64.b64decode(text))
    assert metadata is not None
    return Workload.of_metadata(metadata)


class Rig:
    """One filter; `exchange` makes a request and remembers its stream."""

    def __init__(self, config: dict[str, Any], **answer: str) -> None:
        self.harness = FilterHarness(PeerMetadata, config, node=NODE)
        self.harness.upstream.returns(200, {name.replace("_", "-"): value for name, value in answer.items()})
        self.stream: HarnessStream

    def exchange(self, headers: dict[str, str] | None = None, prepare: Any = None) -> Exchange:
        def keep(stream: HarnessStream) -> None:
            self.stream = stream
            if prepare is not None:
                prepare(stream)

        return self.harness.request(headers=headers or {}, prepare=keep)


def test_a_caller_tells_its_host_who_it_is_and_hears_who_that_is() -> None:
    rig = Rig(OUTBOUND, x_envoy_peer_metadata=encoded(CART), x_envoy_peer_metadata_id="sidecar~cart", x_other="1")
    exchange = rig.exchange({PEER: "forged", ID: "forged"})
    sent = exchange.upstream_headers
    assert (sent[ID], decoded(sent[PEER])) == (NODE.id, WEB)
    assert peer_in(rig.stream.filter_state, "upstream_peer") == CART
    assert set(exchange.response) >= {"x-other"}
    assert PEER not in exchange.response
    assert ID not in exchange.response


def test_a_called_one_tells_a_caller_that_has_told_it() -> None:
    rig = Rig(INBOUND)
    exchange = rig.exchange({PEER: encoded(CART), ID: "sidecar~cart"})
    assert PEER not in exchange.upstream_headers
    assert ID not in exchange.upstream_headers
    assert peer_in(rig.stream.filter_state, "downstream_peer") == CART
    assert (exchange.response[ID], decoded(exchange.response[PEER])) == (NODE.id, WEB)


@pytest.mark.parametrize(("sent", "told"), [((), ()), ((ID,), (ID,)), ((PEER,), (PEER,))])
def test_nobody_is_told_more_than_he_has_told(sent: tuple[str, ...], told: tuple[str, ...]) -> None:
    response = Rig(INBOUND).exchange({name: encoded(CART) for name in sent}).response
    assert tuple(name for name in (ID, PEER) if name in response) == told


@pytest.mark.parametrize("text", ["!", "AAAA", "a", base64.b64encode(b"\xff\xff\xff").decode(), "=" * 9])
def test_what_cant_be_read_is_nobody(text: str) -> None:
    rig = Rig(INBOUND)
    assert rig.exchange({PEER: text}).status == 200
    assert peer_in(rig.stream.filter_state, "downstream_peer") in (None, Workload())


@pytest.mark.parametrize(
    ("metadata", "skips", "told"),
    [
        ({}, False, True),
        ({"disable_mx": True}, False, False),
        ({"external": True}, False, True),
        ({"external": True}, True, False),
        ({"external": False, "disable_mx": "true"}, True, True),
    ],
)
def test_who_is_outside_isnt_told(metadata: dict[str, Any], skips: bool, told: bool) -> None:
    rig = Rig({"upstream_propagation": [{"istio_headers": {"skip_external_clusters": skips}}]})
    cluster = rig.harness.cluster("upstream")
    cluster.config = replace(cluster.config, metadata={"istio": metadata})
    assert (PEER in rig.exchange().upstream_headers) is told


def test_further_labels_are_told_and_kept() -> None:
    rig = Rig({**OUTBOUND, "additional_labels": ["team", "none"]}, x_envoy_peer_metadata=encoded(CART))
    metadata = from_struct(base64.b64decode(rig.exchange().upstream_headers[PEER]))
    assert metadata is not None
    assert metadata["LABELS"]["team"] == "red"
    assert Peer(Workload.of_metadata(METADATA, ["team"]))["labels"] == {"team": "red"}


def test_baggage_says_it_too() -> None:
    rig = Rig({"downstream_discovery": [{"baggage": {}}], "upstream_propagation": [{"baggage": {}}]})
    exchange = rig.exchange(
        {"baggage": "k8s.deployment.name=cart,k8s.namespace.name=shop,service.name=c,cloud.region=x"}
    )
    assert peer_in(rig.stream.filter_state, "downstream_peer") == Workload(
        "cart", "shop", "c", kind="deployment", app="c"
    )
    assert Workload.of_baggage(exchange.upstream_headers["baggage"]) == replace(WEB, revision="v2")


def test_what_a_tunnel_told_is_taken_from_its_state() -> None:
    rig = Rig({"upstream_discovery": [{"upstream_filter_state": {"peer_metadata_key": "p"}}]})
    rig.exchange(prepare=lambda stream: setattr(stream, "upstream_filter_state", {"p": Peer(CART)}))
    assert peer_in(rig.stream.filter_state, "upstream_peer") == CART


def test_a_peer_has_fields_for_expressions_and_logs() -> None:
    assert Peer(WEB) == {
        "workload": "web",
        "namespace": "shop",
        "service": "web-svc",
        "cluster": "k1",
        "app": "web-app",
        "version": "v2",
        "name": "web-1",
        "type": "deployment",
    }


def test_a_misspelt_way_is_refused() -> None:
    with pytest.raises(ConfigError, match="istio_headers"):
        Rig({"upstream_discovery": [{"istio_header": {}}]})


def exchanging(alpn: str = "istio-peer-exchange") -> Any:
    config = {"protocol": "istio-peer-exchange", "additional_labels": ["team"]}
    harness = NetworkHarness(Echo, {}, before=[(MetadataExchange, config)], node=NODE)
    return harness.connect(alpn=alpn)


MAGIC = bytes.fromhex("3d230467")
OWN = own_part(NODE.id, NODE.metadata, ["team"])


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_what_a_peer_says_of_itself_doesnt_reach_the_application(step: int) -> None:
    client = exchanging()
    data = own_part("sidecar~cart", CART.metadata()) + b"hello"
    for at in range(0, len(data), step):
        client.send(data[at : at + step])
    assert client.received == OWN + b"hello"
    assert peer_in(client.connection.stream.filter_state, "downstream_peer") == CART


@pytest.mark.parametrize("told", [b"", (3).to_bytes(4, "big") + b"abc", bytes(4)])
def test_a_peer_that_says_nothing_is_served_all_the_same(told: bytes) -> None:
    client = exchanging().send((MAGIC + told if told else b"") + b"hello")
    assert client.received == OWN + b"hello"
    assert client.connection.stream.filter_state == {NO_PEER: True}


def test_without_the_protocol_nobody_says_anything() -> None:
    client = exchanging("h2").send(MAGIC + bytes(4))
    assert client.received == MAGIC + bytes(4)
    assert client.connection.info.filter_state == {NO_PEER: True}


def test_a_peer_that_ends_while_it_tells_is_served_what_it_sent() -> None:
    client = exchanging().send(MAGIC[:3], end=True)
    assert client.received.endswith(MAGIC[:3])


def test_a_peer_cant_say_too_much() -> None:
    assert exchanging().send(MAGIC + bytes.fromhex("7fffffff")).closed == "reset"


def test_only_who_says_little_is_remembered() -> None:
    def peer(name: str) -> PeerPart:
        part = PeerPart()
        part.feed(own_part("", {"WORKLOAD_NAME": name}))
        return part

    assert peer("small").workload is peer("small").workload
    assert peer("x" * 100_000).workload == peer("x" * 100_000).workload
    assert peer("x" * 100_000).workload is not peer("x" * 100_000).workload
