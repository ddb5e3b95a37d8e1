"""Delta: names that come and go, versions of each resource, removals. The lines are those of `told`."""

from __future__ import annotations

from envoy.service.discovery.v3 import discovery_pb2

from meshproxy.model.discovery import CLUSTER, ENDPOINTS, LISTENER
from tests.unit.discovery_protocol.talk import RecordingSink, Talk, cluster, endpoints, listener


def test_everything_is_wanted_by_naming_nothing() -> None:
    talk, sink = Talk(delta=True), RecordingSink()
    talk.mux.watch(CLUSTER, (), sink)
    assert talk.connect() == ["CDS -"]
    assert talk.answer(CLUSTER, "v1", "n1", cluster("a"), cluster("b")) == ["CDS n1"]
    assert talk.answer(CLUSTER, "v2", "n2", cluster("c"), removed=["a"]) == ["CDS n2"]
    assert talk.answer(CLUSTER, "v3", "n3") == ["CDS n3"]
    assert sink.told == ["v1: +a@v1 +b@v1", "v2: +c@v2 -a", "v3:"]
    talk.disconnect()
    assert talk.connect() == ["CDS - b@v1 c@v2"]


def test_names_are_told_as_they_change_and_all_on_a_new_stream() -> None:
    talk = Talk(delta=True)
    first = talk.mux.watch(ENDPOINTS, ["a"], RecordingSink())
    assert talk.connect() == ["EDS - +a"]
    talk.mux.watch(ENDPOINTS, ["a", "b"], RecordingSink())
    assert talk.take() == ["EDS - +b"]
    first.close()
    assert talk.take() == [], "somebody else wants it"
    talk.answer(ENDPOINTS, "v1", "n1", endpoints("a"))
    talk.disconnect()
    assert talk.connect() == ["EDS - +a +b a@v1"]


def test_nothing_is_asked_for_when_all_interest_is_gone() -> None:
    talk = Talk(delta=True)
    watch = talk.mux.watch(ENDPOINTS, ["a"], RecordingSink())
    talk.connect()
    talk.answer(ENDPOINTS, "v1", "n1", endpoints("a"))
    watch.close()
    assert talk.take() == ["EDS - -a"]
    talk.disconnect()
    assert talk.connect() == [], "an empty first request would want everything"


def test_name_given_up_and_wanted_again_is_told_again() -> None:
    talk, again = Talk(delta=True), RecordingSink()
    watch = talk.mux.watch(ENDPOINTS, ["a"], RecordingSink())
    talk.connect()
    talk.answer(ENDPOINTS, "v1", "n1", endpoints("a"))
    with talk.mux.pause(ENDPOINTS):
        watch.close()
        talk.mux.watch(ENDPOINTS, ["a"], again)
    assert talk.take() == ["EDS - +a"], "the server must send it once more"
    assert again.told == []


def test_of_a_partly_refused_response_no_version_is_told() -> None:
    talk = Talk(delta=True)
    talk.mux.watch(CLUSTER, (), RecordingSink(refuses=["bad"]))
    talk.connect()
    talk.answer(CLUSTER, "v1", "n1", cluster("a"), cluster("b"))
    sent = talk.answer(CLUSTER, "v2", "n2", cluster("b"), cluster("bad"), removed=["a"])
    assert sent == ["CDS n2 ! 13 CDS bad: refused"]
    talk.disconnect()
    assert talk.connect() == ["CDS - a@v1 b@v1"]
    talk.answer(CLUSTER, "v3", "n1", cluster("b"), removed=["a"])
    talk.disconnect()
    assert talk.connect() == ["CDS - b@v3"]


def test_refused_whole() -> None:
    talk, sink = Talk(delta=True), RecordingSink()
    talk.mux.watch(LISTENER, (), sink)
    talk.connect()
    assert talk.answer(LISTENER, "v1", "n1", listener("z"), listener("z")) == [
        "LDS n1 ! 13 duplicate name z found among added/updated resources"
    ]
    assert talk.answer(LISTENER, "v1", "n2", listener("z"), removed=["z"]) == [
        "LDS n2 ! 13 duplicate name z found in the union of added+removed resources"
    ]
    response = discovery_pb2.DeltaDiscoveryResponse(type_url=LISTENER, nonce="n3")
    response.resources.add(name="c").resource.Pack(cluster("c"))
    [answer] = talk.receive(response)
    assert answer.startswith(
        f"LDS n3 ! 13 type URL {CLUSTER} embedded in an individual Any does not match the message-wide type URL"
    )
    response = discovery_pb2.DeltaDiscoveryResponse(type_url=LISTENER, nonce="n4")
    response.resources.add(name="empty", version="v1")
    [answer] = talk.receive(response)
    assert answer.startswith("LDS n4 ! 13 type URL  embedded")
    assert [line.split("!")[0] for line in sink.told] == ["rejected"] * 4


def test_removed_name_stays_wanted() -> None:
    talk, sink = Talk(delta=True), RecordingSink()
    talk.mux.watch(ENDPOINTS, ["a"], sink)
    talk.connect()
    talk.answer(ENDPOINTS, "v1", "n1", endpoints("a"))
    assert talk.answer(ENDPOINTS, "v2", "n2", removed=["a", "b"]) == ["EDS n2"]
    assert sink.told == ["v1: +a@v1", "v2: -a"]
    talk.disconnect()
    assert talk.connect() == ["EDS - +a"]


def test_acknowledgements_go_first_and_take_changes_along() -> None:
    talk = Talk(delta=True)
    talk.mux.watch(CLUSTER, (), RecordingSink())
    talk.mux.watch(ENDPOINTS, ["a"], RecordingSink())
    talk.connect()
    with talk.mux.pause(CLUSTER, ENDPOINTS):
        talk.mux.watch(ENDPOINTS, ["b"], RecordingSink())
        assert talk.answer(ENDPOINTS, "v1", "n1", endpoints("a")) == []
        assert talk.answer(CLUSTER, "v1", "n2", cluster("a")) == []
    assert talk.take() == ["EDS n1 +b", "CDS n2"]


def test_endpoints_are_asked_for_before_the_clusters_are_acknowledged() -> None:
    talk = Talk(delta=True)

    def subscribe() -> None:
        for name in ("a", "b"):
            talk.mux.watch(ENDPOINTS, [name], RecordingSink())

    talk.mux.watch(CLUSTER, (), RecordingSink(then=subscribe))
    talk.connect()
    assert talk.answer(CLUSTER, "v1", "n1", cluster("a"), cluster("b")) == ["EDS - +a +b", "CDS n1"]


def test_pause_does_not_keep_a_new_server_in_the_dark() -> None:
    talk = Talk(delta=True)
    talk.mux.watch(CLUSTER, (), RecordingSink())
    talk.connect()
    pause = talk.mux.pause(CLUSTER)
    assert talk.answer(CLUSTER, "v1", "n1", cluster("a")) == []
    talk.disconnect()
    assert talk.connect() == ["CDS - a@v1"]
    pause.resume()
    assert talk.take() == [], "the response of the old stream isn't acknowledged on the new one"


def test_time_to_live_and_heartbeat() -> None:
    talk, sink = Talk(delta=True), RecordingSink()
    talk.mux.watch(ENDPOINTS, ["a"], sink)
    talk.connect()
    talk.answer(ENDPOINTS, "v1", "n1", endpoints("a"), ttl=10)
    talk.now += 8
    assert talk.answer(ENDPOINTS, "v1", "n2", heartbeats=["a"], ttl=10) == ["EDS n2"]
    talk.mux.expire(talk.now + 9)
    assert sink.told == ["v1: +a@v1"]
    talk.mux.expire(talk.now + 10)
    assert sink.told == ["v1: +a@v1", "-: -a"]
    talk.disconnect()
    assert talk.connect() == ["EDS - +a"], "what is gone has no version"


def test_aliases() -> None:
    talk, sink = Talk(delta=True), RecordingSink()
    talk.mux.watch(ENDPOINTS, ["short"], sink)
    talk.connect()
    assert talk.answer(ENDPOINTS, "v1", "n1", endpoints("long"), aliases={"long": ["short"]}) == ["EDS n1"]
    assert sink.told == ["v1: +long@v1"]
    response = discovery_pb2.DeltaDiscoveryResponse(type_url=ENDPOINTS, nonce="n2", system_version_info="v2")
    response.resources.add(name="nothing", aliases=["short"])
    assert talk.receive(response) == ["EDS n2"]
    assert sink.told[-1] == "v2: -short"
