"""A bootstrap that is read again while the program runs: by SIGHUP, and because its file has changed."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from .discovery_rig import Load
from .program import Client, Program, Upstream, free_ports, running


async def _counted(program: Program, name: str, value: int, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while await program.statistic(name) < value:
            await asyncio.sleep(0.02)


def _edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text.replace(before, after))
    fresh.rename(path)


@pytest.mark.parametrize("workers", [1, 2])
async def test_sighup_brings_a_changed_file_into_force_and_loses_no_request(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "config.yaml"
    async with (
        Upstream(size=1) as one,
        Upstream(size=2) as two,
        running(tmp_path, one.port, "--concurrency", str(workers), "--drain-time-s", "1") as program,
    ):
        async with Load(program.port) as load:
            _edit(path, f"port_value: {one.port}", f"port_value: {two.port}")
            program.send_signal(signal.SIGHUP)
            await _counted(program, "cluster_manager.cluster_modified", 1)
            _edit(path, "string: direct", "string: changed")
            program.send_signal(signal.SIGHUP)
            await _counted(program, "listener_manager.listener_in_place_updated", 1)
            await load.reaches(load.done + 50)
        assert load.failed == {}
        client = await Client.connect(program.port)
        assert (await client.get())[2] == b"xx"
        assert (await client.get("/direct"))[2] == b"changed"
        assert await program.statistic("meshproxy.reload.success") == 2
        dump = json.loads((await program.ask("/config_dump"))[1])
        assert str(two.port) in json.dumps(dump["configs"][0])
        assert f'"port_value": {two.port}' in json.dumps(dump["configs"][1]["static_clusters"])


async def test_an_invalid_file_is_refused_with_its_places_and_the_old_goes_on(tmp_path: Path) -> None:
    async with Upstream() as upstream, running(tmp_path, upstream.port) as program:
        _edit(tmp_path / "config.yaml", "stat_prefix: test", "stat_prefx: test")
        program.send_signal(signal.SIGHUP)
        await _counted(program, "meshproxy.reload.rejected", 1)
        assert f"{tmp_path}/config.yaml:12:11: " in program.output()
        assert "did you mean 'stat_prefix'?" in program.output()
        client = await Client.connect(program.port)
        assert (await client.get())[0] == 200
        assert await program.statistic("listener_manager.total_listeners_active") == 1


async def test_a_file_that_changes_is_read_without_being_asked(tmp_path: Path) -> None:
    async with Upstream() as upstream, running(tmp_path, upstream.port) as program:
        second = free_ports(1)[0]
        text = (tmp_path / "config.yaml").read_text()
        start, end = text.index("  - name: in\n"), text.index("  clusters:")
        more = text[start:end].replace("name: in\n", "name: second\n").replace(str(program.port), str(second))
        _edit(tmp_path / "config.yaml", text[start:end], text[start:end] + more)
        await _counted(program, "listener_manager.listener_added", 2)
        client = await Client.connect(second)
        assert (await client.get())[0] == 200


async def test_what_needs_a_restart_is_named(tmp_path: Path) -> None:
    async with Upstream() as upstream, running(tmp_path, upstream.port) as program:
        _edit(tmp_path / "config.yaml", "static_resources:", "node: {id: other, cluster: x}\nstatic_resources:")
        program.send_signal(signal.SIGHUP)
        await _counted(program, "meshproxy.reload.success", 1)
        assert "fields=node" in program.output()


async def test_layers_of_the_runtime_take_the_place_of_those_before(tmp_path: Path) -> None:
    layers = "layered_runtime: {layers: [{name: one, static_layer: {a: 1}}]}\n"
    async with Upstream() as upstream, running(tmp_path, upstream.port, extra=layers) as program:
        assert '"final_value": "1"' in (await program.ask("/runtime"))[1]
        _edit(tmp_path / "config.yaml", "static_layer: {a: 1}", "static_layer: {a: 2}")
        program.send_signal(signal.SIGHUP)
        await _counted(program, "meshproxy.reload.success", 1)
        assert '"final_value": "2"' in (await program.ask("/runtime"))[1]
        assert "only a restart" not in program.output()
