"""Two pods with a real sidecar in one of them; skipped, with the reason, where network namespaces can't be made."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mesh.interception.pods import Pods, why_not

from .applications import Applications
from .sidecar import Sidecar, readable_copy

HERE = Path(__file__).parent
RULES = ("-p=15001", "-z=15006", "-u=1337", "-g=1337", "-i=*", "-b=*", "-d=15090,15021,15020", "--ipv6=on")
REDIRECT = {"TRANSPARENT": "false", "OUTBOUND": "15001", "INBOUND": "15006"}
reason = functools.cache(why_not)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.root)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if HERE in item.path.parents and reason():
        pytest.skip(reason())


@dataclass(frozen=True)
class Mesh:
    """Names of the namespaces of the pod and of the world, and the pod's sidecar."""

    pod: str
    world: str
    sidecar: Sidecar


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    with readable_copy() as folder:
        yield folder


def make(work: Path, rules: tuple[str, ...], values: dict[str, str], net_admin: bool) -> Iterator[Mesh]:
    pods, applications, sidecar = Pods(), Applications(), None
    try:
        done = pods.a.intercept(*rules)
        assert done.returncode == 0, done.stderr
        applications.http(pods.a.name, 8080, "app")
        applications.plain(pods.a.name, 9000)
        applications.http(pods.b.name, 8080, "peer")
        applications.http(pods.b.name, 80, "vip")
        applications.plain(pods.b.name, 9000)
        sidecar = Sidecar(work, pods.a.name, values, net_admin=net_admin)
        yield Mesh(pods.a.name, pods.b.name, sidecar)
        assert sidecar.stop() == 0
    finally:
        if sidecar is not None:
            sidecar.process.kill()
            sidecar.process.wait()
        applications.close()
        pods.close()


@pytest.fixture(scope="module")
def mesh(work: Path) -> Iterator[Mesh]:
    """Everything by REDIRECT, as Istio has it by default."""
    yield from make(work, RULES, REDIRECT, False)


@pytest.fixture(scope="module")
def tproxy(work: Path) -> Iterator[Mesh]:
    """Inbound by TPROXY: the sidecar needs NET_ADMIN for its transparent sockets."""
    yield from make(work, (*RULES, "-m=TPROXY"), {**REDIRECT, "TRANSPARENT": "true"}, True)


@pytest.fixture(scope="module")
def careless(work: Path) -> Iterator[Mesh]:
    """A configuration that forgot the chains which close the sidecar's own ports."""
    yield from make(work, RULES, {**REDIRECT, "OUTBOUND": "1", "INBOUND": "1"}, False)
