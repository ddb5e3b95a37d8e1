"""The image without Docker: its build steps run as they stand, below a folder; what comes out serves, read-only."""

from __future__ import annotations

import contextlib
import fnmatch
import http.client
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..ports import free_ports
from .dockerfile import Stage, read

ROOT = Path(__file__).resolve().parents[2]
BUILD, FINAL = read(ROOT / "Dockerfile")
PYTHON = "/usr/bin/python3"

BOOTSTRAP = """\
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - name: web
    address: {{socket_address: {{address: 127.0.0.1, port_value: {web}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          access_log:
          - name: log
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: /dev/stdout
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: from the image}}}}}}
          http_filters:
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"""


def why_not() -> str:
    """Why the image's files can't be made here; "" if they can."""
    if os.geteuid() != 0:
        return "needs root: another user, and a read-only mount"
    code = "import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))"
    if subprocess.run([PYTHON, "-c", code], capture_output=True).returncode:
        return "needs the system's Python, 3.11 to 3.13, with venv"
    return ""


class TestInstructions:
    def test_runs_as_the_exempt_user_without_a_shell(self) -> None:
        assert FINAL.only("USER") == "1337:1337"
        for instruction in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
            assert FINAL.command(instruction), instruction
        assert all(" 1337 " in command for command in FINAL.all("RUN") if "useradd" in command)

    def test_is_called_as_istio_calls_it(self) -> None:
        (program,) = FINAL.command("ENTRYPOINT")
        assert any(f"ln -s {program} /usr/local/bin/pilot-agent" in command for command in FINAL.all("RUN"))

    def test_writes_no_byte_code(self) -> None:
        assert FINAL.environment()["PYTHONDONTWRITEBYTECODE"] == "1"

    def test_installs_nothing_without_a_hash(self) -> None:
        installs = [
            part
            for command in BUILD.all("RUN")
            for part in command.split("&&")
            if re.search(r"pip (install|wheel)", part)
        ]
        assert len(installs) == 4
        assert all("--require-hashes" in part or "--no-index" in part for part in installs)

    def test_everything_it_copies_is_sent_to_the_builder(self) -> None:
        ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
        sent = [line[1:] for line in ignored if line.startswith("!")]
        for argument in BUILD.all("COPY"):
            for source in argument.split()[:-1]:
                assert (ROOT / source).exists()
                assert any(fnmatch.fnmatch(source, pattern) for pattern in sent), source


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The files that the build stage makes, below a folder that everyone may read."""
    if why_not():
        pytest.skip(why_not())
    with tempfile.TemporaryDirectory(prefix="meshproxy-image-") as name:
        root = Path(name)
        root.chmod(0o755)
        build(BUILD, root)
        shutil.rmtree(root / "opt" / "build")
        shutil.rmtree(root / "src")
        yield root


def build(stage: Stage, root: Path) -> None:
    """Runs a stage's instructions with their absolute paths moved below `root`."""
    folder = root / stage.only("WORKDIR").lstrip("/")
    folder.mkdir(parents=True)
    (root / "opt").mkdir()
    for instruction, argument in stage.instructions:
        if instruction == "COPY":
            *sources, target = argument.split()
            for source in sources:
                copy(ROOT / source, folder / target / (source if target == "./" else ""))
        elif instruction == "RUN":
            command = re.sub(r"(?<![\w.])/opt/", f"{root}/opt/", argument)
            command = re.sub(r"(^|&& )python ", rf"\1{PYTHON} ", command)
            done = subprocess.run(
                ["sh", "-e", "-c", f"umask 022; {command}"],
                cwd=folder, capture_output=True, text=True, timeout=300,
                env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            )  # fmt: skip
            if done.returncode and "NewConnectionError" in done.stderr:
                pytest.skip("needs a package index")
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def within(root: Path, command: list[str]) -> list[str]:
    """The command as uid 1337, where nothing can be written, with the image's paths below `root`."""
    moved = [re.sub(r"^/opt/", f"{root}/opt/", word) for word in command]
    script = (
        f"mount --bind {root} {root}; mount -o remount,bind,ro {root}; mount -o remount,bind,ro /; "
        "exec setpriv --reuid=1337 --regid=1337 --clear-groups --inh-caps=-all --bounding-set=-all "
        f"--no-new-privs {shlex.join(moved)}"
    )
    return ["unshare", "--mount", "--propagation=private", "sh", "-e", "-c", script]


@contextlib.contextmanager
def running(image: Path, web: int, admin: int) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The image's program, with the environment that the Dockerfile gives it and no other."""
    config = image / "envoy.yaml"
    config.write_text(BOOTSTRAP.format(web=web, admin=admin))
    environment = {**FINAL.environment(), "HEALTHCHECK_ADDRESS": f"127.0.0.1:{admin}"}
    command = [*FINAL.command("ENTRYPOINT"), *FINAL.command("CMD")[:-1], str(config)]
    process = subprocess.Popen(
        within(image, command),
        env={**environment, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, environment
    finally:
        process.kill()
        process.communicate()


def healthy(image: Path, environment: dict[str, str]) -> bool:
    """What the HEALTHCHECK says."""
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    command = within(image, FINAL.command("HEALTHCHECK"))
    return subprocess.run(command, env={**environment, **path}, capture_output=True).returncode == 0


@pytest.mark.root
def test_serves_read_only_as_the_exempt_user(image: Path) -> None:
    web, admin = free_ports(2)
    with running(image, web, admin) as (process, environment):
        deadline = time.monotonic() + 60
        while not healthy(image, environment):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        client = http.client.HTTPConnection("127.0.0.1", web, timeout=5)
        client.request("GET", "/")
        assert client.getresponse().read() == b"from the image"
        client.close()
        process.terminate()
        output, _ = process.communicate(timeout=10)
        assert process.returncode == 0
        assert '"GET / HTTP/1.1" 200' in output
        assert not healthy(image, environment)
    assert not list((image / "opt" / "meshproxy" / "lib").rglob("site-packages/pip"))


@pytest.mark.root
def test_has_the_init_container_too(image: Path) -> None:
    done = subprocess.run(
        [str(image / "opt/meshproxy/bin/meshproxy-iptables"), "--help"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0
    assert "--proxy-uid" in done.stdout
