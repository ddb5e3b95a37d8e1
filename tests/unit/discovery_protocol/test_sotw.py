"""State of the world: what is asked for, answered, kept and given up. The lines are those of `told`."""

from __future__ import annotations

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from meshproxy.model.discovery import CLUSTER, ENDPOINTS, LISTENER
from tests.unit.discovery_protocol.talk import RecordingSink, Talk, cluster, endpoints, listener


def test_first_request_names_nothing_and_each_response_is_acknowledged() -> None:
    talk, sink = Talk(delta=False), RecordingSink()
    talk.mux.watch(CLUSTER, (), sink)
    assert talk.connect() == ["CDS - - []"]
    assert talk.answer(CLUSTER, "v1", "n1", cluster("a"), cluster("b")) == ["CDS v1 n1 []"]
    assert talk.answer(CLUSTER, "v2", "n2", cluster("b")) == ["CDS v2 n2 []"]
    assert talk.answer(CLUSTER, "v3", "n3") == ["CDS v3 n3 []"]
    assert sink.told == ["v1: +a@v1 +b@v1", "v2: +b@v2 -a", "v3: -b"]


def test_node_is_told_once_on_each_stream_or_always() -> None:
    for once, expected in ((True, [True, False, True]), (False, [True, True, True])):
        talk = Talk(delta=False, node_once=once)
        talk.mux.watch(CLUSTER, (), RecordingSink())
        talk.connect()
        talk.answer(CLUSTER, "v1", "n1")
        talk.disconnect()
        talk.connect()
        assert [request.HasField("node") for request in talk.raw] == expected


def test_refused_resource_leaves_the_version_and_names_the_reason() -> None:
    talk, sink = Talk(delta=False), RecordingSink(refuses=["bad"])
    talk.mux.watch(LISTENER, (), sink)
    talk.connect()
    talk.answer(LISTENER, "v1", "n1", listener("a"))
    assert talk.answer(LISTENER, "v2", "n2", listener("bad"), listener("b")) == ["LDS v1 n2 [] ! 13 LDS bad: refused"]
    assert sink.told[-1] == "v2: +bad@v2 +b@v2 -a"
    assert talk.answer(LISTENER, "v3", "n3", listener("b")) == ["LDS v3 n3 []"], "the error is told once"


def test_what_cannot_be_decoded_is_refused_as_a_whole() -> None:
    talk, sink = Talk(delta=False), RecordingSink()
    talk.mux.watch(LISTENER, (), sink)
    talk.connect()
    response = discovery_pb2.DiscoveryResponse(type_url=LISTENER, version_info="v1", nonce="n1")
    response.resources.add().Pack(listener("good"))
    response.resources.append(any_pb2.Any(type_url=LISTENER, value=b"\xff\xff"))
    assert talk.receive(response) == ["LDS - n1 [] ! 13 Unable to unpack as envoy.config.listener.v3.Listener"]
    assert sink.told == ["rejected! Unable to unpack as envoy.config.listener.v3.Listener"]


def test_resource_of_another_type_is_refused_and_the_error_is_cut() -> None:
    talk = Talk(delta=False)
    talk.mux.watch(LISTENER, (), RecordingSink())
    talk.connect()
    response = discovery_pb2.DiscoveryResponse(type_url=LISTENER, nonce="n1")
    for index in range(500):
        response.resources.add().Pack(cluster(f"cluster-{index}"))
    [answer] = talk.receive(response)
    assert answer.startswith(f"LDS - n1 [] ! 13 {CLUSTER} does not match the message-wide type URL {LISTENER} in Disc")
    assert answer.endswith("...(truncated)")
    assert len(answer) < 4200


def test_names_change_with_the_last_version_and_nonce() -> None:
    talk, one, two = Talk(delta=False), RecordingSink(), RecordingSink()
    first = talk.mux.watch(ENDPOINTS, ["a"], one)
    assert talk.connect() == ["EDS - - [a]"]
    assert talk.answer(ENDPOINTS, "v1", "n1", endpoints("a")) == ["EDS v1 n1 [a]"]
    talk.mux.watch(ENDPOINTS, ["b", "c"], two)
    assert talk.take() == ["EDS v1 n1 [a b c]"]
    first.close()
    assert talk.take() == ["EDS v1 n1 [b c]"]
    assert talk.answer(ENDPOINTS, "v2", "n2", endpoints("a"), endpoints("c")) == ["EDS v2 n2 [b c]"]
    assert (one.told, two.told) == (["v1: +a@v1"], ["v2: +c@v2"])


def test_missing_names_are_unchanged_and_unknown_ones_ignored() -> None:
    talk, sink = Talk(delta=False), RecordingSink()
    talk.mux.watch(ENDPOINTS, ["a"], sink)
    talk.connect()
    assert talk.answer(ENDPOINTS, "v1", "n1", endpoints("other")) == ["EDS v1 n1 [a]"]
    assert talk.answer(ENDPOINTS, "v2", "n2") == ["EDS v2 n2 [a]"]
    assert sink.told == []


def test_second_wish_for_a_held_resource_is_granted_at_once() -> None:
    talk, late = Talk(delta=False), RecordingSink()
    talk.mux.watch(ENDPOINTS, ["a"], RecordingSink())
    talk.connect()
    talk.answer(ENDPOINTS, "v1", "n1", endpoints("a"))
    talk.mux.watch(ENDPOINTS, ["a"], late)
    assert late.told == ["v1: +a@v1"]
    talk.answer(ENDPOINTS, "v2", "n2", endpoints("a"))
    assert late.told == ["v1: +a@v1", "v2: +a@v2"]


def test_reconnect_tells_versions_and_keeps_what_is_held() -> None:
    talk, sink = Talk(delta=False), RecordingSink()
    talk.mux.watch(CLUSTER, (), sink)
    talk.mux.watch(ENDPOINTS, ["a"], RecordingSink())
    talk.connect()
    talk.answer(CLUSTER, "v1", "n1", cluster("a"))
    talk.answer(ENDPOINTS, "e1", "n2", endpoints("a"))
    talk.disconnect()
    assert sink.told == ["v1: +a@v1", "connection"]
    assert talk.connect() == ["CDS v1 - []", "EDS e1 - [a]"]
    assert talk.answer(CLUSTER, "v2", "m1", cluster("b")) == ["CDS v2 m1 []"]
    assert sink.told[-1] == "v2: +b@v2 -a", "what the new server lacks is gone"


def test_refusal_is_not_told_to_the_next_server() -> None:
    talk = Talk(delta=False)
    talk.mux.watch(LISTENER, (), RecordingSink(refuses=["bad"]))
    talk.connect()
    talk.open = False  # the stream ends while the response is used
    talk.answer(LISTENER, "v1", "n1", listener("bad"))
    talk.disconnect()
    assert talk.connect() == ["LDS - - []"]


def test_endpoints_are_asked_for_once_and_before_the_clusters_are_acknowledged() -> None:
    talk = Talk(delta=False)

    def subscribe() -> None:
        for name in ("a", "b", "c"):
            talk.mux.watch(ENDPOINTS, [name], RecordingSink())

    talk.mux.watch(CLUSTER, (), RecordingSink(then=subscribe))
    talk.connect()
    sent = talk.answer(CLUSTER, "v1", "n1", cluster("a"), cluster("b"), cluster("c"))
    assert sent == ["EDS - - [a b c]", "CDS v1 n1 []"]


def test_pause_holds_back_requests_and_acknowledgements() -> None:
    talk = Talk(delta=False)
    talk.mux.watch(CLUSTER, (), RecordingSink())
    talk.connect()
    outer, inner = talk.mux.pause(CLUSTER), talk.mux.pause(CLUSTER, ENDPOINTS)
    assert talk.answer(CLUSTER, "v1", "n1", cluster("a")) == []
    assert talk.answer(CLUSTER, "v2", "n2", cluster("a")) == []
    outer.resume()
    outer.resume()
    assert talk.take() == []
    inner.resume()
    assert talk.take() == ["CDS v2 n2 []"]


def test_pause_does_not_keep_a_new_server_in_the_dark() -> None:
    talk = Talk(delta=False)
    talk.mux.watch(CLUSTER, (), RecordingSink())
    talk.connect()
    talk.answer(CLUSTER, "v1", "n1", cluster("a"))
    with talk.mux.pause(CLUSTER):
        talk.disconnect()
        assert talk.connect() == ["CDS v1 - []"]


def test_server_that_answers_late_gets_no_acknowledgement() -> None:
    talk = Talk(delta=False)
    talk.mux.watch(ENDPOINTS, ["a"], RecordingSink()).close()
    assert talk.connect() == ["EDS - - []"]
    assert talk.answer(ENDPOINTS, "v1", "n1") == []
    assert talk.answer(ENDPOINTS, "v2", "n2", endpoints("a")) == ["EDS v1 n2 []"]
    assert talk.answer(LISTENER, "v1", "n3") == [], "never asked for"


def test_time_to_live() -> None:
    talk, sink = Talk(delta=False), RecordingSink()
    talk.mux.watch(CLUSTER, (), sink)
    talk.connect()
    assert talk.answer(CLUSTER, "v1", "n1", cluster("a"), cluster("b"), ttl=10) == ["CDS v1 n1 []"]
    talk.now += 8
    assert talk.answer(CLUSTER, "v1", "n2", heartbeats=["a", "b"], ttl=10) == ["CDS v1 n2 []"]
    assert talk.mux.next_expiry() == talk.now + 10
    talk.now += 9
    talk.mux.expire(talk.now)
    assert sink.told == ["v1: +a@v1 +b@v1"], "a heartbeat changes nothing and keeps everything"
    assert talk.answer(CLUSTER, "v2", "n3", cluster("a")) == ["CDS v2 n3 []"]
    talk.now += 100
    talk.mux.expire(talk.now)
    assert talk.mux.next_expiry() is None
    assert sink.told[1:] == ["v2: +a@v2 -b"], "without a time to live it stays for ever"


def test_expired_resource_is_removed() -> None:
    talk, sink = Talk(delta=False), RecordingSink()
    talk.mux.watch(ENDPOINTS, ["a", "b"], sink)
    talk.connect()
    talk.answer(ENDPOINTS, "v1", "n1", endpoints("a"), ttl=5)
    talk.mux.expire(talk.now + 5)
    assert sink.told == ["v1: +a@v1", "-: -a"]
    late = RecordingSink()
    talk.mux.watch(ENDPOINTS, ["a"], late)
    assert late.told == []
