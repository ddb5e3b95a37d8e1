"""The scripts: section by section of the xDS protocol, as a client has to speak it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable

import grpc
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message

from tests.certificates import Authority
from tests.discovery.ads_server import URLS, pack, told
from tests.discovery.dialogue import Dialogue
from tests.discovery.resources import (
    abort,
    bad_cluster,
    bad_listener,
    cluster,
    endpoints,
    generic_secret,
    listener,
    listener_with_discovered_credential,
    listener_with_discovered_filter,
    listener_with_discovered_secret,
    routes,
    secret,
    static_cluster,
)

Script = Callable[[Dialogue], Awaitable[None]]
SCRIPTS: dict[str, Script] = {}


def script(function: Script) -> Script:
    """Put it on the list."""
    SCRIPTS[function.__name__] = function
    return function


async def serving(talk: Dialogue) -> None:
    """One cluster c1, one listener a with routes r1: up to LIVE."""
    await talk.connected()
    await talk.says(["CDS - - []"], ["CDS -"])
    talk.answer("CDS", "w0", "n1", cluster("c1"))
    await talk.says(["EDS - - [c1]", "CDS w0 n1 []"], ["EDS - +c1", "CDS n1"])
    talk.answer("EDS", "e0", "n2", endpoints("c1", talk.upstream))
    await talk.says(["LDS - - []", "EDS e0 n2 [c1]"], ["LDS -", "EDS n2"])
    talk.answer("LDS", "l0", "n3", listener("a", talk.ports[0], "r1"))
    await talk.says(["RDS - - [r1]", "LDS l0 n3 []"], ["RDS - +r1", "LDS n3"])
    talk.answer("RDS", "r0", "n4", routes("r1", "c1"))
    await talk.says(["RDS r0 n4 [r1]"], ["RDS n4"])
    await talk.becomes_ready()
    await talk.gets(talk.ports[0], 200)


@script
async def start_up_waits_for_each_part_in_turn(talk: Dialogue) -> None:
    await talk.connected()
    await talk.says(["CDS - - []"], ["CDS -"])
    talk.answer("CDS", "w0", "n1", cluster("c1"), cluster("c2"))
    await talk.says(["EDS - - [c1 c2]", "CDS w0 n1 []"], ["EDS - +c1 +c2", "CDS n1"])
    talk.answer("EDS", "e0", "n2", endpoints("c1", talk.upstream))
    await talk.says(["EDS e0 n2 [c1 c2]"], ["EDS n2"])
    await talk.is_silent()
    assert not await talk.ready()
    talk.answer("EDS", "e1", "n3", endpoints("c2", talk.upstream))
    await talk.says(["LDS - - []", "EDS e1 n3 [c1 c2]"], ["LDS -", "EDS n3"])
    talk.answer("LDS", "l0", "n4", listener("a", talk.ports[0], "r1"))
    await talk.says(["RDS - - [r1]", "LDS l0 n4 []"], ["RDS - +r1", "LDS n4"])
    await talk.is_silent()
    assert not await talk.ready()
    talk.answer("RDS", "r0", "n5", routes("r1", "c1"))
    await talk.says(["RDS r0 n5 [r1]"], ["RDS n5"])
    await talk.becomes_ready()
    await talk.gets(talk.ports[0], 200)


@script
async def new_cluster_is_acknowledged_when_it_is_warm(talk: Dialogue) -> None:
    await serving(talk)
    talk.answer("CDS", "w1", "n6", cluster("c1"), cluster("c3"))
    await talk.says(["EDS e0 n2 [c1 c3]"], ["EDS - +c3"])
    await talk.is_silent()
    talk.answer("EDS", "e1", "n7", endpoints("c3", talk.upstream))
    await talk.says(["CDS w1 n6 []", "EDS e1 n7 [c1 c3]"], ["CDS n6", "EDS n7"])


@script
async def removed_cluster_is_asked_for_no_more(talk: Dialogue) -> None:
    await serving(talk)
    if talk.delta:
        talk.answer("CDS", "w1", "n6", removed=["c1"])
    else:
        talk.answer("CDS", "w1", "n6")
    await talk.says(["EDS e0 n2 []", "CDS w1 n6 []"], ["EDS - -c1", "CDS n6"])
    await talk.gets(talk.ports[0], 503)
    await talk.counts("cluster_manager.cluster_removed", 1)


@script
async def endpoints_change_without_a_word_more(talk: Dialogue) -> None:
    await serving(talk)
    for number in range(5):
        talk.answer("EDS", f"e{number}", f"m{number}", endpoints("c1", talk.upstream, talk.upstream + number))
        await talk.says([f"EDS e{number} m{number} [c1]"], [f"EDS m{number}"])
    await talk.counts("cluster.c1.membership_total", 2)
    passing = endpoints("c1", talk.upstream)
    passing.policy.endpoint_stale_after.nanos = 500_000_000
    for number in range(2):
        talk.answer("EDS", "e9", f"p{number}", passing)
        await talk.says([f"EDS e9 p{number} [c1]"], [f"EDS p{number}"])
    await talk.counts("cluster.c1.assignment_timeout_received", 2)
    await talk.gets(talk.ports[0], 503)
    await talk.counts("cluster.c1.assignment_stale", 1)


@script
async def routes_change_in_place(talk: Dialogue) -> None:
    await serving(talk)
    await talk.gets(talk.ports[0], 200, "/old")
    talk.answer("RDS", "r1", "n5", routes("r1", "c1", old="nowhere"))
    await talk.says(["RDS r1 n5 [r1]"], ["RDS n5"])
    await talk.gets(talk.ports[0], 503, "/old")
    await talk.gets(talk.ports[0], 200)
    if talk.delta:  # they go with the listener alone
        talk.answer("RDS", "r2", "n6", removed=["r1"])
        await talk.says([], ["RDS n6"])
        await talk.gets(talk.ports[0], 200)


@script
async def good_listeners_of_a_bad_push_are_used(talk: Dialogue) -> None:
    await serving(talk)
    first, second, third = talk.ports[:3]
    talk.answer("LDS", "l1", "n5", listener("a", first, "r1"), bad_listener("bad1", third), listener("b", second, "r2"))
    await talk.says(
        ["RDS r0 n4 [r1 r2]", "LDS l0 n5 [] ! 13 Error adding/updating listener(s) bad1: *"],
        ["RDS - +r2", "LDS n5 ! 13 Error adding/updating listener(s) bad1: *"],
    )
    talk.answer("RDS", "r1", "n6", routes("r2", "c1"))
    await talk.says(["RDS r1 n6 [r1 r2]"], ["RDS n6"])
    await talk.gets(second, 200)
    await talk.gets(first, 200)
    await talk.refuses(third)
    await talk.counts("listener_manager.lds.update_rejected", 1)


@script
async def good_clusters_of_a_bad_push_are_used(talk: Dialogue) -> None:
    await serving(talk)
    resources = [cluster("c1"), bad_cluster("cbad"), static_cluster("c2", talk.upstream)]
    talk.answer("CDS", "w1", "n5", *resources)
    await talk.says(
        ["CDS w0 n5 [] ! 13 Error adding/updating cluster(s) cbad: *"],
        ["CDS n5 ! 13 Error adding/updating cluster(s) cbad: *"],
    )
    talk.answer("RDS", "r1", "n6", routes("r1", "c1", two="c2"))
    await talk.says(["RDS r1 n6 [r1]"], ["RDS n6"])
    await talk.gets(talk.ports[0], 200, "/two")
    await talk.counts("cluster_manager.cds.update_rejected", 1)


@script
async def what_cannot_be_decoded_changes_nothing(talk: Dialogue) -> None:
    await serving(talk)
    garbage = any_pb2.Any(type_url=URLS["LDS"], value=b"\xff\xff\xff")
    other = pack(cluster("q"))
    for number, (spoilt, why) in enumerate(
        (
            (garbage, "Unable to unpack as envoy.config.listener.v3.Listener"),
            (other, ""),
        )
    ):
        nonce = f"bad{number}"
        response = _spoilt(talk, "LDS", nonce, [pack(listener("b", talk.ports[1], "r1")), spoilt])
        talk.stream.send(response)
        wrong = "type.googleapis.com/envoy.config.cluster.v3.Cluster does not match the message-wide type URL *"
        embedded = "type URL type.googleapis.com/envoy.config.cluster.v3.Cluster embedded in an individual Any does*"
        await talk.says(
            [f"LDS l0 {nonce} [] ! 13 {why + '*' if why else wrong}"],
            [f"LDS {nonce} ! 13 {why + '*' if why else embedded}"],
        )
    await talk.refuses(talk.ports[1])
    await talk.gets(talk.ports[0], 200)
    await talk.counts("listener_manager.lds.update_rejected", 2)


@script
async def broken_rule_refuses_the_whole_response(talk: Dialogue) -> None:
    await serving(talk)
    talk.stream.send(_spoilt(talk, "CDS", "n5", [pack(static_cluster("c2", talk.upstream)), pack(cluster(""))]))
    heard = told(await talk.stream.request())
    assert "Proto constraint validation failed" in heard, heard
    await talk.counts("cluster_manager.active_clusters", 2)


def _spoilt(talk: Dialogue, label: str, nonce: str, packed: list[any_pb2.Any]) -> Message:
    """A response with resources that no program would make."""
    if not talk.delta:
        return discovery_pb2.DiscoveryResponse(type_url=URLS[label], version_info="bad", nonce=nonce, resources=packed)
    response = discovery_pb2.DeltaDiscoveryResponse(type_url=URLS[label], system_version_info="bad", nonce=nonce)
    for index, resource in enumerate(packed):
        response.resources.add(name=f"x{index}", version="bad", resource=resource)
    return response


@script
async def doubled_listener_is_named_and_the_first_is_used(talk: Dialogue) -> None:
    await serving(talk)
    a, first, second = listener("a", talk.ports[0], "r1"), listener("z", talk.ports[1], "r1"), None
    second = listener("z", talk.ports[2], "r1")
    talk.answer("LDS", "l1", "n5", a, first, second)
    await talk.says(
        ["LDS l0 n5 [] ! 13 Error adding/updating listener(s) z: duplicate listener z found"],
        ["LDS n5 ! 13 duplicate name z found among added/updated resources"],
    )
    if talk.delta:
        await talk.refuses(talk.ports[1])
    else:
        await talk.gets(talk.ports[1], 200)
    await talk.refuses(talk.ports[2])


@script
async def reconnect_tells_what_is_held_and_traffic_goes_on(talk: Dialogue) -> None:
    await serving(talk)
    talk.stream.end(grpc.StatusCode.UNAVAILABLE, "going away")
    await talk.gets(talk.ports[0], 200)
    await talk.connected()
    await talk.says(
        ["CDS w0 - []", "EDS e0 - [c1]", "LDS l0 - []", "RDS r0 - [r1]"],
        ["CDS - c1@w0", "EDS - +c1 c1@e0", "LDS - a@l0", "RDS - +r1 r1@r0"],
    )
    assert [request.HasField("node") for _, request in talk.stream.requests] == [True, False, False, False]
    await talk.gets(talk.ports[0], 200)
    talk.answer("RDS", "r1", "k1", routes("r1", "c1", old="nowhere"))
    await talk.says(["RDS r1 k1 [r1]"], ["RDS k1"])
    await talk.gets(talk.ports[0], 503, "/old")
    await talk.counts("cluster_manager.cds.update_failure", 1)
    await talk.counts("control_plane.connected_state", 1)


@script
async def server_that_is_away_is_tried_again_and_again(talk: Dialogue) -> None:
    await serving(talk)
    await talk.server.stop()
    await talk.counts("control_plane.connected_state", 0)
    await asyncio.sleep(1.0)
    await talk.gets(talk.ports[0], 200)
    await talk.server.start(talk.server.address)
    await talk.connected()
    await talk.says(
        ["CDS w0 - []", "EDS e0 - [c1]", "LDS l0 - []", "RDS r0 - [r1]"],
        ["CDS - c1@w0", "EDS - +c1 c1@e0", "LDS - a@l0", "RDS - +r1 r1@r0"],
    )


@script
async def removed_listener_stops_and_comes_back(talk: Dialogue) -> None:
    await serving(talk)
    if talk.delta:
        talk.answer("LDS", "l1", "n5", removed=["a"])
    else:
        talk.answer("LDS", "l1", "n5")
    await talk.says(["LDS l1 n5 []"], ["LDS n5"])  # what drains still has routes
    await talk.refuses(talk.ports[0])
    await talk.counts("listener_manager.listener_removed", 1)
    await talk.counts("listener_manager.total_listeners_draining", 1)
    talk.answer("RDS", "r1", "n6", routes("r1", "c1", old="nowhere"))
    await talk.says(["RDS r1 n6 [r1]"], ["RDS n6"])
    talk.answer("LDS", "l2", "n7", listener("a", talk.ports[0], "r1"))
    await talk.says(["LDS l2 n7 []"], ["LDS n7"])
    await talk.gets(talk.ports[0], 503, "/old")


@script
async def unrequested_and_empty_answers_change_nothing(talk: Dialogue) -> None:
    await serving(talk)
    talk.answer("EDS", "e1", "n5", endpoints("other", 1))
    await talk.says(["EDS e1 n5 [c1]"], ["EDS n5"])
    talk.answer("EDS", "e2", "n6")
    await talk.says(["EDS e2 n6 [c1]"], ["EDS n6"])
    talk.answer("SDS", "s0", "n7")
    await talk.is_silent()
    await talk.gets(talk.ports[0], 200)


@script
async def several_answers_before_an_acknowledgement(talk: Dialogue) -> None:
    await serving(talk)
    talk.answer("RDS", "r1", "n5", routes("r1", "c1"))
    talk.answer("EDS", "e1", "n6", endpoints("c1", talk.upstream))
    talk.answer("RDS", "r2", "n7", routes("r1", "c1", old="nowhere"))
    await talk.says(["RDS r1 n5 [r1]", "EDS e1 n6 [c1]", "RDS r2 n7 [r1]"], ["RDS n5", "EDS n6", "RDS n7"])
    await talk.gets(talk.ports[0], 503, "/old")


@script
async def filter_is_fetched_warms_its_listener_and_is_refused_by_itself(talk: Dialogue) -> None:
    await serving(talk)
    other = listener_with_discovered_filter("z", talk.ports[1], "f")
    talk.answer("LDS", "l1", "n5", listener("a", talk.ports[0], "r1"), other)
    await talk.says(["ECDS - - [f]", "LDS l1 n5 []"], ["ECDS - +f", "LDS n5"])
    await talk.refuses(talk.ports[1])
    talk.answer("ECDS", "x0", "n6", abort("f", 418))
    await talk.says(["ECDS x0 n6 [f]"], ["ECDS n6"])
    await talk.gets(talk.ports[1], 418)
    talk.answer("ECDS", "x1", "n7", abort("f", 451))
    await talk.says(["ECDS x1 n7 [f]"], ["ECDS n7"])
    await talk.gets(talk.ports[1], 451)
    wrong = abort("f", 400)
    wrong.typed_config.Pack(router_pb2.Router())
    talk.answer("ECDS", "x2", "n8", wrong)
    await talk.says(["ECDS x1 n8 [f] ! 13 *"], ["ECDS n8 ! 13 *"])
    await talk.gets(talk.ports[1], 451)
    await talk.counts("extension_config_discovery.http_filter.f.config_reload", 2)
    await talk.counts("extension_config_discovery.http_filter.f.update_rejected", 1)
    if talk.delta:
        talk.answer("ECDS", "x3", "n9", removed=["f"])
        await talk.says([], ["ECDS n9"])
        await talk.gets(talk.ports[1], 500)


@script
async def secret_is_fetched_and_replaced_and_never_shown(talk: Dialogue) -> None:
    await serving(talk)
    authority = Authority("test")
    first, second = authority.issue("first"), authority.issue("second")
    talk.answer(
        "LDS", "l1", "n5", listener("a", talk.ports[0], "r1"), listener_with_discovered_secret("z", talk.ports[1], "s")
    )
    await talk.says(["SDS - - [s]", "LDS l1 n5 []"], ["SDS - +s", "LDS n5"])
    await talk.refuses(talk.ports[1])
    talk.answer("SDS", "s0", "n6", secret("s", first))
    await talk.says(["SDS s0 n6 [s]"], ["SDS n6"])
    await talk.shows_certificate(talk.ports[1], first.der)
    talk.answer("SDS", "s1", "n7", secret("s", second))
    await talk.says(["SDS s1 n7 [s]"], ["SDS n7"])
    await talk.shows_certificate(talk.ports[1], second.der)
    mixed = secret("s", first)
    mixed.tls_certificate.private_key.inline_bytes = second.key_pem
    talk.answer("SDS", "s2", "n8", mixed)
    await talk.says(["SDS s1 n8 [s] ! 13 *"], ["SDS n8 ! 13 *"])
    await talk.shows_certificate(talk.ports[1], second.der)
    await talk.counts("sds.s.update_rejected", 1)
    await talk.counts("sds.s.update_success", 2)
    factory = f"listener.127.0.0.1_{talk.ports[1]}.server_ssl_socket_factory"
    await talk.counts(f"{factory}.ssl_context_update_by_sds", 2)
    shown = json.loads((await talk.program.ask("/config_dump?resource=dynamic_active_secrets"))[1])["configs"]
    (entry,) = shown
    # Envoy shows the version that it has refused.
    assert (entry["name"], entry["version_info"]) == ("s", "s2" if talk.kind == "envoy" else "s1")
    key = entry["secret"]["tls_certificate"]["private_key"]["inline_bytes"]
    assert base64.b64decode(key) == b"[redacted]"


@script
async def secret_of_a_filter_is_fetched_and_replaced(talk: Dialogue) -> None:
    await serving(talk)
    credential = listener_with_discovered_credential("z", talk.ports[1], "s")
    talk.answer("LDS", "l1", "n5", listener("a", talk.ports[0], "r1"), credential)
    await talk.says(["SDS - - [s]", "LDS l1 n5 []"], ["SDS - +s", "LDS n5"])
    await talk.refuses(talk.ports[1])
    talk.answer("SDS", "s0", "n6", generic_secret("s", ""))
    await talk.says(["SDS s0 n6 [s]"], ["SDS n6"])
    await talk.gets(talk.ports[1], 401)
    talk.answer("SDS", "s1", "n7", generic_secret("s", "Bearer t"))
    await talk.says(["SDS s1 n7 [s]"], ["SDS n7"])
    await talk.gets(talk.ports[1], 200)


@script
async def resource_with_a_time_to_live_goes_unless_it_is_renewed(talk: Dialogue) -> None:
    await serving(talk)
    talk.stream.send(_mortal(talk, "n5", 2))
    await talk.says(["CDS w1 n5 []"], ["CDS n5"])
    await talk.counts("cluster_manager.active_clusters", 3)
    await talk.counts("cluster_manager.active_clusters", 2)
    await talk.gets(talk.ports[0], 200)


def _mortal(talk: Dialogue, nonce: str, seconds: int) -> Message:
    """The clusters that there are, and one more for so many seconds."""
    mortal = discovery_pb2.Resource(name="mortal", version="w1", ttl=duration_pb2.Duration(seconds=seconds))
    mortal.resource.Pack(static_cluster("mortal", talk.upstream))
    if talk.delta:
        return discovery_pb2.DeltaDiscoveryResponse(
            type_url=URLS["CDS"], system_version_info="w1", nonce=nonce, resources=[mortal]
        )
    return discovery_pb2.DiscoveryResponse(
        type_url=URLS["CDS"], version_info="w1", nonce=nonce, resources=[pack(cluster("c1")), pack(mortal)]
    )
