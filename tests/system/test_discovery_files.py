"""Resources in files: what comes into force, what is refused, and that no request is lost meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from .discovery_rig import Files, Load, discovering
from .program import Client, Program, Upstream


async def _until(true: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.02)


async def _counted(program: Program, name: str, value: int) -> None:
    async def there() -> bool:
        return await program.statistic(name) >= value

    await _until(there)


_SCOPES = ("listener_manager.lds", "cluster_manager.cds", "http.test.rds.routes", "cluster.up")


async def _seen(load: Load, version: str) -> bool:
    return load.seen[version] > 0


async def _refused(program: Program, times: int) -> bool:
    """Whether so many updates of each kind were refused, or couldn't be read."""
    for scope in _SCOPES:
        counts = [await program.statistic(f"{scope}.update_{outcome}") for outcome in ("failure", "rejected")]
        if sum(counts) < times:
            return False
    return True


async def test_each_kind_of_resource_changes_without_a_restart(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with Upstream(size=1) as one, Upstream(size=2) as two:
        files.all(one.port)
        async with discovering(files) as program:
            client = await Client.connect(program.port)
            status, fields, body = await client.get()
            assert (status, fields["x-routes"], body) == (200, "1", b"x")

            files.endpoints("2", two.port)
            await _counted(program, "cluster.up.update_success", 2)
            assert (await client.get())[2] == b"xx"

            files.routes("2")
            await _counted(program, "http.test.rds.routes.update_success", 2)
            assert (await client.get())[1]["x-routes"] == "2"

            files.endpoints("1", one.port, cluster="other")
            files.clusters("2", "up", "other")
            await _counted(program, "cluster_manager.cds.update_success", 2)
            files.routes("3", cluster="other")
            await _counted(program, "http.test.rds.routes.update_success", 3)
            assert (await client.get())[2] == b"x"
            assert await program.statistic("cluster_manager.cluster_added") == 2

            files.clusters("3", "other")
            await _counted(program, "cluster_manager.cluster_removed", 1)
            assert await program.statistic("cluster_manager.active_clusters") == 1
            assert (await client.get())[2] == b"x"


async def test_a_chain_that_changes_drains_and_the_port_stays(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with Upstream() as upstream:
        files.all(upstream.port)
        async with discovering(files, "--drain-time-s", "2", "--drain-strategy", "immediate") as program:
            old = await Client.connect(program.port)
            assert "connection" not in (await old.get())[1]
            files.listener("2", filters="server_name: other, ")
            await _counted(program, "listener_manager.listener_in_place_updated", 1)
            fresh = await Client.connect(program.port)
            assert (await fresh.get())[1]["server"] == "other"
            _, fields, _ = await old.get()
            assert (fields["connection"], fields["server"]) == ("close", "envoy")


async def test_a_listener_that_changes_hands_its_socket_over(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with Upstream() as upstream:
        files.all(upstream.port)
        async with discovering(files, "--drain-time-s", "1") as program:
            idle = await Client.connect(program.port)
            assert (await idle.get())[0] == 200
            files.listener("2", more="per_connection_buffer_limit_bytes: 100000, ")
            await _counted(program, "listener_manager.lds.update_success", 2)
            assert await program.statistic("listener_manager.listener_modified") == 1
            assert await program.statistic("listener_manager.listener_in_place_updated") == 0
            assert await program.statistic("listener_manager.total_listeners_draining") == 1
            fresh = await Client.connect(program.port)
            assert (await fresh.get())[0] == 200
            # What is left when the drain time is over is closed.
            assert await asyncio.wait_for(idle.reader.read(), 20) == b""
            await asyncio.sleep(0.2)
            assert await program.statistic("listener_manager.total_listeners_draining") == 0
            assert (await fresh.get())[0] == 200


async def test_a_removed_listener_ends_and_its_requests_do_not(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with Upstream(delay=0.5) as upstream:
        files.all(upstream.port)
        async with discovering(files) as program:
            client = await Client.connect(program.port)
            under_way = asyncio.create_task(client.get())
            await asyncio.sleep(0.1)
            files.put("lds", "version_info: '2'\nresources: []\n")
            await _counted(program, "listener_manager.listener_removed", 1)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", program.port)
            assert (await under_way)[0] == 200


async def test_a_refused_resource_is_named_and_the_good_ones_beside_it_count(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with Upstream() as upstream:
        files.all(upstream.port)
        async with discovering(files) as program:
            good = (tmp_path / "cds.yaml").read_text()
            more = (
                "- {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: bad, type: EDS}\n"
                "- {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: new, type: STATIC}\n"
            )
            files.put("cds", good.replace("'1'", "'2'") + more)
            await _counted(program, "cluster_manager.cds.update_rejected", 1)
            assert await program.statistic("cluster_manager.cluster_added") == 3  # the refused one too, as Envoy counts
            assert await program.statistic("cluster_manager.active_clusters") == 2
            assert "cannot create an EDS cluster without an EDS config" in program.output()
            assert f"{tmp_path}/cds.yaml:4:" in program.output()
            _, text = await program.ask("/stats?filter=cds.version_text")
            assert text == 'cluster_manager.cds.version_text: "1"\n'


@pytest.mark.parametrize("workers", [1, 2])
async def test_twenty_reloads_and_twenty_corrupt_ones_lose_no_request(tmp_path: Path, workers: int) -> None:
    files = Files(tmp_path)
    async with Upstream() as one, Upstream() as two:
        files.all(one.port)
        async with discovering(files, "--concurrency", str(workers), "--drain-time-s", "1") as program:
            async with Load(program.port) as load:
                for turn in range(20):
                    files.endpoints(f"e{turn}", *((one.port, two.port)[: turn % 2 + 1]))
                    files.clusters(f"c{turn}", "up", timeout=f"{turn + 2}s")
                    files.routes(f"r{turn}")
                    files.listener(f"l{turn}", more=f"per_connection_buffer_limit_bytes: {100000 + turn}, ")
                    await _counted(program, "cluster_manager.cluster_modified", turn + 1)
                    await _counted(program, "listener_manager.listener_modified", turn + 1)
                    await _until(lambda: _seen(load, f"r{turn}"))  # noqa: B023  # it is awaited here
                kinds = ("cds", "lds", "rds", "eds-up")
                texts = {name: (tmp_path / f"{name}.yaml").read_text() for name in kinds}
                for turn in range(20):
                    for name, text in texts.items():
                        cut = text[: len(text) * (turn + 1) // 25] + "\n{"
                        files.put(name, cut if turn % 2 else text.replace("resources:\n- {", "resources:\n- 7\n- {"))
                    await _until(lambda: _refused(program, turn + 1))  # noqa: B023  # it is awaited here
                files.routes("last")
                await _until(lambda: _seen(load, "last"))
                await load.reaches(500)
            assert load.failed == {}
            assert await program.statistic("cluster_manager.cluster_modified") == 20


async def test_endpoints_that_go_finish_their_requests(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with Upstream(delay=0.4) as one, Upstream() as two:
        files.all(one.port)
        async with discovering(files) as program:
            clients = [await Client.connect(program.port) for _ in range(10)]
            under_way = [asyncio.create_task(client.get()) for client in clients]
            await asyncio.sleep(0.15)
            files.endpoints("2", two.port)
            await _counted(program, "cluster.up.update_success", 2)
            assert [status for status, _, _ in await asyncio.gather(*under_way)] == [200] * 10
            assert (await clients[0].get())[0] == 200
            assert await program.statistic("cluster.up.membership_total") == 1


async def test_the_admin_interface_shows_what_is_in_force_and_what_was_refused(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with Upstream() as upstream:
        files.all(upstream.port)
        async with discovering(files) as program:
            good = (tmp_path / "lds.yaml").read_text()
            files.put("lds", good.replace("'1'", "'2'").replace("stat_prefix: test, ", "stat_prefix: {}, "))
            await _counted(program, "listener_manager.lds.update_failure", 1)
            bad = (
                good.replace("'1'", "'3'")
                .replace("prefix: /", "prefix: /")
                .replace("http_filters: [", "http_filters: [{name: none}, ")
            )
            files.put("lds", bad)
            await _counted(program, "listener_manager.lds.update_rejected", 1)
            dump = json.loads((await program.ask("/config_dump?include_eds"))[1])["configs"]
            by_type = {entry["@type"].rpartition(".")[2]: entry for entry in dump}
            listener, fault = by_type["ListenersConfigDump"]["dynamic_listeners"]
            assert listener["active_state"]["version_info"] == "1"
            assert "'typed_config' is required" in listener["error_state"]["details"]
            assert fault["error_state"]["details"] == listener["error_state"]["details"]
            (cluster,) = by_type["ClustersConfigDump"]["dynamic_active_clusters"]
            assert (cluster["version_info"], cluster["cluster"]["name"]) == ("1", "up")
            (route,) = by_type["RoutesConfigDump"]["dynamic_route_configs"]
            assert route["route_config"]["name"] == "routes"
            (endpoints,) = by_type["EndpointsConfigDump"]["dynamic_endpoint_configs"]
            assert endpoints["endpoint_config"]["cluster_name"] == "up"
            page = json.loads((await program.ask("/meshproxy/xds"))[1])
            shown = {(entry["type"], entry["name"]): entry for entry in page["resources"]}
            assert shown["Cluster", "up"]["state"] == "active"
            refused = shown["Listener", "in"]
            assert refused["version"] == "1"
            assert any(line.startswith("+") and '"none"' in line for line in refused["difference"])
            assert (await program.ask("/clusters"))[1].count("up::added_via_api::true") == 1
            assert f"in::127.0.0.1:{program.port}" in (await program.ask("/listeners"))[1]
            assert json.loads((await program.ask("/init_dump"))[1]) == {}


async def test_a_resource_that_is_absent_holds_nothing_up_and_may_come_later(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with Upstream() as upstream:
        files.all(upstream.port)
        files.put("rds", "version_info: '1'\nresources: []\n")
        text = (tmp_path / "lds.yaml").read_text()

        files.put("eds-up", "version_info: '1'\nresources: []\n")
        files.put("lds", text)
        async with discovering(files) as program:
            client = await Client.connect(program.port)
            assert (await client.get())[0] == 404
            files.routes("2")
            await _counted(program, "http.test.rds.routes.config_reload", 1)
            assert (await client.get())[0] == 503
            files.endpoints("2", upstream.port)
            await _counted(program, "cluster.up.membership_total", 1)
            assert (await client.get())[0] == 200
