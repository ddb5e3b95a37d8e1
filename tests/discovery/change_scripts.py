"""More scripts: resources that change, go and come back while the client serves."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2

from tests.discovery.ads_server import told
from tests.discovery.dialogue import PATIENCE_S, Dialogue
from tests.discovery.resources import ADS, bad_cluster, cluster, endpoints, listener, routes
from tests.discovery.scripts import script, serving


def _health(name: str, port: int) -> endpoint_pb2.ClusterLoadAssignment:
    """A host of every health, in one place."""
    message = endpoints(name, *[port + number for number in range(6)])
    hosts = message.endpoints[0].lb_endpoints
    for host, status in zip(hosts, health_check_pb2.HealthStatus.values(), strict=True):
        host.health_status = status
        host.metadata.filter_metadata["envoy.lb"].update({"status": status})
    return message


@script
async def clusters_change_go_and_come_back(talk: Dialogue) -> None:
    await serving(talk)
    source: dict[str, Any] = {"eds_cluster_config": {"eds_config": ADS, "service_name": "s2"}}
    # It is asked for by the name of its service.
    talk.answer("CDS", "w1", "n5", cluster("c1"), cluster("c2", **source))
    await talk.says(["EDS e0 n2 [c1 s2]"], ["EDS - +s2"])
    talk.answer("EDS", "e1", "n6", _health("s2", talk.upstream))
    await talk.says(["CDS w1 n5 []", "EDS e1 n6 [c1 s2]"], ["CDS n5", "EDS n6"])
    for gauge, value in (("total", 6), ("healthy", 2), ("degraded", 1)):
        await talk.counts(f"cluster.c2.membership_{gauge}", value)
    # It goes, and comes back in another form.
    if talk.delta:
        talk.answer("CDS", "w2", "n7", removed=["c2"])
    else:
        talk.answer("CDS", "w2", "n7", cluster("c1"))
    await talk.says(["EDS e1 n6 [c1]", "CDS w2 n7 []"], ["EDS - -s2", "CDS n7"])
    await talk.counts("cluster_manager.cluster_removed", 1)
    talk.answer("CDS", "w3", "n8", cluster("c1"), cluster("c2", connect_timeout="7s"))
    await talk.says(["EDS e1 n6 [c1 c2]"], ["EDS - +c2"])
    talk.answer("EDS", "e2", "n9", endpoints("c2", talk.upstream))
    await talk.says(["CDS w3 n8 []", "EDS e2 n9 [c1 c2]"], ["CDS n8", "EDS n9"])
    # What was sent out of order is in force when the rest has come.
    talk.answer("RDS", "r1", "n10", routes("r1", "c1", three="c3"))
    await talk.says(["RDS r1 n10 [r1]"], ["RDS n10"])
    await talk.gets(talk.ports[0], 503, "/three")
    talk.answer("CDS", "w4", "n11", cluster("c1"), cluster("c2", connect_timeout="7s"), cluster("c3"))
    await talk.says(["EDS e2 n9 [c1 c2 c3]"], ["EDS - +c3"])
    talk.answer("EDS", "e3", "n12", endpoints("c3", talk.upstream))
    await talk.says(["CDS w4 n11 []", "EDS e3 n12 [c1 c2 c3]"], ["CDS n11", "EDS n12"])
    await talk.gets(talk.ports[0], 200, "/three")
    # One that takes another's place goes on with its numbers.
    requests = await talk.statistic("cluster.c3.upstream_rq_total")
    assert requests
    changed = cluster("c3", connect_timeout="7s")
    talk.answer("CDS", "w5", "n13", cluster("c1"), cluster("c2", connect_timeout="7s"), changed)
    talk.answer("EDS", "e4", "n14", endpoints("c3", talk.upstream))
    await talk.says(["EDS e3 n12 [c1 c2 c3]", "CDS w5 n13 []", "EDS e4 n14 [c1 c2 c3]"], ["CDS n13", "EDS n14"])
    await talk.counts("cluster.c3.membership_change", 2)
    assert await talk.statistic("cluster.c3.upstream_rq_total") == requests
    talk.answer("EDS", "e5", "n15", endpoints("c3", talk.upstream, talk.ports[1]))
    await talk.says(["EDS e5 n15 [c1 c2 c3]"], ["EDS n15"])
    await talk.counts("cluster_manager.cluster_updated", 1)


@script
async def doubled_cluster_is_named(talk: Dialogue) -> None:
    await serving(talk)
    talk.answer("CDS", "w1", "n5", cluster("c1"), cluster("c1", connect_timeout="9s"))
    await talk.says(
        ["CDS w0 n5 [] ! 13 Error adding/updating cluster(s) c1: duplicate cluster c1 found"],
        ["CDS n5 ! 13 duplicate name c1 found among added/updated resources"],
    )
    await talk.gets(talk.ports[0], 200)


@script
async def listeners_change_in_place_and_move(talk: Dialogue) -> None:
    await serving(talk)
    first, second = talk.ports[:2]
    changed = listener("a", first, "r1")
    changed.filter_chains[0].name = "other"
    talk.answer("LDS", "l1", "n5", changed)
    await talk.says(["LDS l1 n5 []"], ["LDS n5"])
    await talk.counts("listener_manager.listener_in_place_updated", 1)
    await talk.gets(first, 200)
    moved = listener("a", second, "r1")
    talk.answer("LDS", "l2", "n6", moved)
    await talk.says(["LDS l2 n6 []"], ["LDS n6"])
    await talk.gets(second, 200)
    await talk.refuses(first)


@script
async def of_a_push_that_was_refused_in_part_no_version_is_told(talk: Dialogue) -> None:
    await serving(talk)
    talk.answer("CDS", "w1", "n5", cluster("c1"), bad_cluster("bad"))
    await talk.says(["CDS w0 n5 [] ! *"], ["CDS n5 ! *"])
    await talk.server.restart()
    await talk.connected()
    heard = [told(await talk.stream.request(PATIENCE_S)).rstrip() for _ in range(4)]
    sotw = ["CDS w0 - []", "EDS e0 - [c1]", "LDS l0 - []", "RDS r0 - [r1]"]
    delta = ["CDS - c1@w0", "EDS - +c1 c1@e0", "LDS - a@l0", "RDS - +r1 r1@r0"]
    assert sorted(heard) == (delta if talk.delta else sotw)


@script
async def connections_of_a_listener_that_is_gone_follow_their_routes(talk: Dialogue) -> None:
    await serving(talk)
    first = talk.ports[0]
    async with _connection(first) as ask:
        assert await ask("/old") == 200
        changed = listener("a", first, "r1")
        changed.per_connection_buffer_limit_bytes.value = 77_777
        talk.answer("LDS", "l1", "n5", changed)
        await talk.says(["LDS l1 n5 []"], ["LDS n5"])
        await talk.counts("listener_manager.total_listeners_draining", 1)
        talk.answer("RDS", "r1", "n6", routes("r1", "c1", old="nowhere"))
        await talk.says(["RDS r1 n6 [r1]"], ["RDS n6"])
        await talk.gets(first, 503, "/old")
        assert await ask("/old") == 503
        # Also when the listener that took its place asks for others.
        talk.answer("LDS", "l2", "n7", listener("a", first, "r2"))
        await talk.says(["RDS r1 n6 [r1 r2]", "LDS l2 n7 []"], ["RDS - +r2", "LDS n7"])
        talk.answer("RDS", "r2", "n8", routes("r2", "c1"), routes("r1", "c1"))
        await talk.says(["RDS r2 n8 [r1 r2]"], ["RDS n8"])
        assert await ask("/old") == 200


@contextlib.asynccontextmanager
async def _connection(port: int) -> AsyncIterator[Callable[[str], Awaitable[int]]]:
    """One connection for several requests: what asks for a path, and gives the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(path: str) -> int:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: test\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
        return int(head.split()[1])

    yield ask
    writer.close()


@script
async def routes_that_never_come_are_waited_for_so_long(talk: Dialogue) -> None:
    await serving(talk)
    second = talk.ports[1]
    waiting = listener("b", second, "never", **{"stat_prefix": "b"})
    _wait_for_routes(waiting, seconds=1)
    talk.answer("LDS", "l1", "n5", listener("a", talk.ports[0], "r1"), waiting)
    await talk.says(["RDS r0 n4 [never r1]", "LDS l1 n5 []"], ["RDS - +never", "LDS n5"])
    await talk.gets(second, 404)
    await talk.counts("http.b.rds.never.init_fetch_timeout", 1)
    # They are taken all the same when they come.
    talk.answer("RDS", "r1", "n6", routes("never", "c1"))
    await talk.says(["RDS r1 n6 [never r1]"], ["RDS n6"])
    await talk.gets(second, 200)


def _wait_for_routes(message: Any, *, seconds: int) -> None:
    from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

    manager = http_connection_manager_pb2.HttpConnectionManager()
    place = message.filter_chains[0].filters[0].typed_config
    place.Unpack(manager)
    manager.rds.config_source.initial_fetch_timeout.seconds = seconds
    place.Pack(manager)
