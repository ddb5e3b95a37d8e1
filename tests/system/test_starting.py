"""Exit codes, what is printed where, and flags from the environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest

from .program import Program, Upstream, bootstrap, free_ports, running, spawn


async def _run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "meshproxy.cli", *arguments, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, **(env or {})},
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "envoy.yaml"
    port, admin = free_ports(2)
    path.write_text(bootstrap(port, admin, 9))
    return path


async def test_validate(config: Path) -> None:
    assert await _run("-c", str(config), "--mode", "validate") == (0, f"configuration '{config}' OK\n", "")


async def test_a_bad_configuration_is_shown_with_its_places(config: Path) -> None:
    config.write_text(config.read_text().replace("stat_prefix", "stat_prefx").replace("connect_timeout: 1s", "lb: x"))
    code, out, err = await _run("-c", str(config))
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[0].startswith(f"error: {config}:12:11: ")
    assert lines[0].endswith("did you mean 'stat_prefix'?")
    assert lines[1] == "12 |           stat_prefx: test"
    assert lines[2] == "   |           ^"
    assert lines[-1] == "2 problems"
    assert "\x1b" not in err


async def test_an_access_log_that_cannot_be_written(config: Path) -> None:
    log = (
        "access_log: [{name: file, typed_config: {'@type': "
        "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /nowhere/access.log}}]"
    )
    config.write_text(config.read_text().replace("admin: {", f"admin: {{{log}, "))
    code, _, err = await _run("-c", str(config))
    assert code == 1
    assert "unable to open file '/nowhere/access.log': No such file or directory" in err


async def test_standard_output_need_not_be_a_path_that_can_be_opened(config: Path) -> None:
    """A pipe of another user's can't be opened by its path, nor can a socket, by anybody."""
    log = (
        "access_log: [{name: file, typed_config: {'@type': "
        "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/stdout}}]"
    )
    config.write_text(config.read_text().replace("admin: {", f"admin: {{{log}, "))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "meshproxy.cli", "-c", str(config), "--mode", "validate", stdout=theirs.fileno(),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err) == (0, b"")


async def test_configuration_on_the_command_line_is_merged_over_the_file(config: Path) -> None:
    code, _, err = await _run("-c", str(config), "--config-yaml", "node: {id: 7}", "--mode", "validate")
    assert code == 1
    assert "--config-yaml:1:12: node.id" in err


@pytest.mark.parametrize("arguments", [(), ("--nonsense",), ("-c", "x.yaml", "--concurrency", "many")])
async def test_bad_usage(arguments: tuple[str, ...]) -> None:
    code, out, err = await _run(*arguments)
    assert (code, out) == (2, "")
    assert "usage: meshproxy" in err


async def test_version() -> None:
    code, out, _ = await _run("--version")
    assert code == 0
    assert out.startswith("meshproxy  version: meshproxy/")


@pytest.mark.parametrize("flags", [(), ("--concurrency", "2")], ids=["one-process", "two-workers"])
@pytest.mark.parametrize("which", ["listener", "admin"])
async def test_an_address_that_is_taken(tmp_path: Path, which: str, flags: tuple[str, ...]) -> None:
    port, admin = free_ports(2)
    with socket.create_server(("127.0.0.1", port if which == "listener" else admin)) as taken:
        process, output = await spawn(tmp_path, bootstrap(port, admin, 9), *flags)
        assert await asyncio.wait_for(process.wait(), 20) == 3
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    assert f"cannot bind '{address}'" in output.read_text()
    assert "Address already in use" in output.read_text()


@pytest.mark.root
async def test_a_privileged_port_without_privilege(tmp_path: Path) -> None:
    (tmp_path / "envoy.yaml").write_text(bootstrap(81, free_ports(1)[0], 9))
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o055)
    process = await asyncio.create_subprocess_exec(
        "setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
        sys.executable, "-c",
        "import sys; from meshproxy.cli import main; sys.exit(main())", "-c", str(tmp_path / "envoy.yaml"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await asyncio.wait_for(process.communicate(), 20)
    floor = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if floor <= 81:
        pytest.skip("every port is unprivileged here")
    assert process.returncode == 3, err.decode()
    assert "CAP_NET_BIND_SERVICE" in err.decode()


async def test_flags_from_the_environment(tmp_path: Path) -> None:
    port, admin = free_ports(2)
    environment = {"MESHPROXY_DRAIN_TIME_S": "7", "MESHPROXY_LOG_LEVEL": "error", "MESHPROXY_SERVICE_NODE": "pod-7"}
    process, output = await spawn(
        tmp_path, bootstrap(port, admin, 9), "--log-level", "critical", "--base-id", "4", env=environment
    )
    program = Program(process, port, admin, output)
    try:
        await program.ready()
        _, info = await program.ask("/server_info")
        assert '"drain_time": "7s"' in info
        assert '"log_level": "critical"' in info
        assert '"id": "pod-7"' in info
        assert output.read_text() == ""
    finally:
        process.kill()
        await process.wait()


async def test_the_log_as_json_and_flags_without_effect(tmp_path: Path) -> None:
    flags = ("--log-format", "json", "--log-path", str(tmp_path / "log"), "--enable-core-dump", "--restart-epoch", "0")
    async with Upstream() as upstream, running(tmp_path, upstream.port, *flags) as program:
        lines = (tmp_path / "log").read_text().splitlines()
        assert len([line for line in lines if '"flags": "--enable-core-dump"' in line]) == 1
        assert any('"event": "serving"' in line for line in lines)
        assert program.output() == ""


async def test_where_the_admin_interface_is(tmp_path: Path) -> None:
    path = tmp_path / "admin"
    async with Upstream() as upstream, running(tmp_path, upstream.port, "--admin-address-path", str(path)) as program:
        assert path.read_text() == f"127.0.0.1:{program.admin_port}"


@pytest.mark.parametrize("path", ["{folder}/admin.sock", "@meshproxy-test-{pid}"], ids=["path", "abstract"])
async def test_the_admin_interface_on_a_unix_socket(tmp_path: Path, path: str) -> None:
    path = path.format(folder=tmp_path, pid=os.getpid())
    mode = "" if path.startswith("@") else ", mode: 384"
    process, output = await spawn(tmp_path, f"admin: {{address: {{pipe: {{path: '{path}'{mode}}}}}}}", "-l", "error")
    try:
        async with asyncio.timeout(20):
            while True:
                assert process.returncode is None, output.read_text()
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_unix_connection(path.replace("@", "\0"))
                    writer.write(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                    answer = await reader.read()
                    writer.close()
                    if answer.startswith(b"HTTP/1.1 200 OK"):
                        break
                await asyncio.sleep(0.05)
        if mode:
            assert os.stat(path).st_mode & 0o777 == 0o600
    finally:
        process.kill()
        await process.wait()


async def test_a_file_in_the_way_of_a_unix_socket_is_kept(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    process, output = await spawn(tmp_path, f"admin: {{address: {{pipe: {{path: '{tmp_path}/precious'}}}}}}")
    assert await asyncio.wait_for(process.wait(), 20) == 3
    assert "Address already in use" in output.read_text()
    assert (tmp_path / "precious").read_text() == "data"


async def test_logs_are_opened_anew(tmp_path: Path) -> None:
    import signal

    log = tmp_path / "access.log"
    options = (
        "access_log: [{name: file, typed_config: {'@type': "
        "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, "
        f"path: '{log}', log_format: {{text_format_source: {{inline_string: \"%REQ(:PATH)%\\n\"}}}}}}}}]"
    )
    flags = ("--file-flush-interval-msec", "50")
    async with Upstream() as upstream, running(tmp_path, upstream.port, *flags, options=options) as program:
        from .program import statuses

        await statuses(program.port, ["/direct/1"])
        await asyncio.sleep(0.2)
        log.rename(tmp_path / "old.log")
        program.send_signal(signal.SIGUSR1)
        await asyncio.sleep(0.1)
        await statuses(program.port, ["/direct/2"])
        await asyncio.sleep(0.2)
        assert (tmp_path / "old.log").read_text() == "/direct/1\n"
        assert log.read_text() == "/direct/2\n"
