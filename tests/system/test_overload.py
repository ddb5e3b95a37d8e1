"""What overload does to clients: one program whose pressure is a number in a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from .program import Program, running

_TYPES = "type.googleapis.com/envoy"
_INJECTED = f"'@type': {_TYPES}.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig"
_TIMERS = f"'@type': {_TYPES}.config.overload.v3.ScaleTimersOverloadActionConfig"


def _manager(tmp_path: Path) -> str:
    return f"""
layered_runtime:
  layers: [{{name: s, static_layer: {{envoy.resource_limits.listener.in.connection_limit: '2'}}}}]
overload_manager:
  refresh_interval: 0.02s
  resource_monitors:
  - {{name: r, typed_config: {{{_INJECTED}, filename: {tmp_path}/r}}}}
  - {{name: c, typed_config: {{{_INJECTED}, filename: {tmp_path}/c}}}}
  actions:
  - name: envoy.overload_actions.reduce_timeouts
    triggers: [{{name: r, threshold: {{value: 0.2}}}}]
    typed_config: {{{_TIMERS}, timer_scale_factors: [{{timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 0.01s}}]}}
  - {{name: envoy.overload_actions.disable_http_keepalive, triggers: [{{name: r, threshold: {{value: 0.4}}}}]}}
  - {{name: envoy.overload_actions.stop_accepting_requests, triggers: [{{name: r, threshold: {{value: 0.6}}}}]}}
  - {{name: envoy.overload_actions.reject_incoming_connections, triggers: [{{name: c, threshold: {{value: 0.2}}}}]}}
  - {{name: envoy.overload_actions.stop_accepting_connections, triggers: [{{name: c, threshold: {{value: 0.6}}}}]}}
  - {{name: envoy.overload_actions.shrink_heap, triggers: [{{name: c, threshold: {{value: 0.6}}}}]}}
  loadshed_points:
  - name: envoy.load_shed_points.http_connection_manager_decode_headers
    triggers: [{{name: c, threshold: {{value: 0.1}}}}]
"""


async def _put(program: Program, path: Path, pressure: str) -> None:
    """Change the pressure, and wait until it has been noticed."""
    path.with_suffix(".new").write_text(pressure)
    path.with_suffix(".new").rename(path)
    wanted = round(float(pressure) * 100)
    async with asyncio.timeout(10):
        while await program.statistic(f"overload.{path.name}.pressure") != wanted:
            await asyncio.sleep(0.02)


async def _ask(program: Program) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
    try:
        writer.write(b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n")
        async with asyncio.timeout(10):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return "closed"
        closes = ", closes" if b"connection: close" in head else ""
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        return head.split()[1].decode() + closes + " " + (await reader.readexactly(length)).decode()
    finally:
        writer.close()


async def test_what_is_done_against_overload(tmp_path: Path) -> None:
    requests, connections = tmp_path / "r", tmp_path / "c"
    requests.write_text("0")
    connections.write_text("0")
    options = "common_http_protocol_options: {idle_timeout: 60s}"
    async with running(tmp_path, 9, "--config-yaml", _manager(tmp_path), options=options) as program:
        assert await _ask(program) == "200 direct"
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", program.port)
        async with asyncio.timeout(10):
            while await program.statistic("http.test.downstream_cx_active") != 1:
                await asyncio.sleep(0.02)
        await _put(program, requests, "0.2")
        late, late_writer = await asyncio.open_connection("127.0.0.1", program.port)
        async with asyncio.timeout(10):
            assert await idle.read() == b""  # the minute that it had has become a hundredth of a second
            assert await late.read() == b""  # as it has for who comes only now
        idle_writer.close()
        late_writer.close()
        await _put(program, requests, "0.4")
        assert await _ask(program) == "200, closes direct"
        await _put(program, requests, "0.6")
        assert await _ask(program) == "503, closes envoy overloaded"
        assert await program.statistic("http.test.downstream_rq_overload_close") == 1
        assert await program.statistic("http.test.downstream_cx_overload_disable_keepalive") == 2
        active = "overload.envoy.overload_actions.stop_accepting_requests.active"
        assert await program.statistic(active) == 1
        await _put(program, requests, "0")
        assert await program.statistic(active) == 0

        await _put(program, connections, "0.1")
        assert await _ask(program) == "503 envoy overloaded"
        await _put(program, connections, "0.2")
        assert await _ask(program) == "closed"
        await _put(program, connections, "0.6")
        waiting = asyncio.create_task(_ask(program))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert await program.statistic("overload.envoy.overload_actions.shrink_heap.shrink_count") == 1
        await _put(program, connections, "0")
        assert await waiting == "200 direct"

        opened = [await asyncio.open_connection("127.0.0.1", program.port) for _ in range(2)]
        assert await _ask(program) == "closed"
        assert await program.statistic(f"listener.127.0.0.1_{program.port}.downstream_cx_overflow") >= 1
        for _, writer in opened:
            writer.close()
            await writer.wait_closed()


async def test_a_limit_for_the_connections_of_all_listeners(tmp_path: Path) -> None:
    limit = "overload.global_downstream_max_connections"
    more = f"layered_runtime: {{layers: [{{name: s, static_layer: {{{limit}: '1'}}}}]}}"
    async with running(tmp_path, 9, "--config-yaml", more) as program:
        reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
        writer.write(b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await _ask(program) == "closed"
        assert await program.statistic(f"listener.127.0.0.1_{program.port}.downstream_global_cx_overflow") == 1
        writer.close()
