"""Real connections through real rules and the real proxy: who answers, from which address, and what the log says."""

from __future__ import annotations

import hashlib
import socket
import time
from pathlib import Path

import pytest

from tests.mesh.interception.pods import PEER4, PEER6, POD4, POD6, VIP4, VIP6

from .conftest import Mesh
from .sidecar import ask, connect

PODS = [pytest.param(POD4, "127.0.0.6", id="v4"), pytest.param(POD6, "::6", id="v6")]


def both(ip: str, port: int) -> str:
    """An address as the access log prints it."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def host_of(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def line(connection: socket.socket) -> str:
    """What a plain server says first."""
    with connection.makefile("r") as reader:
        return reader.readline().strip()


def ends_without_a_byte(connection: socket.socket, say: bytes = b"") -> bool:
    """Whether the other side closes (or resets) and has sent nothing."""
    with connection:
        connection.settimeout(5)
        try:
            if say:
                connection.sendall(say)
            return connection.recv(1) == b""
        except ConnectionError:
            return True


@pytest.mark.parametrize(("vip", "peer", "pod"), [(VIP4, PEER4, POD4), (VIP6, PEER6, POD6)], ids=["v4", "v6"])
class TestOutbound:
    def test_service_by_its_address(self, mesh: Mesh, vip: str, peer: str, pod: str) -> None:
        status, answer = ask(mesh.pod, vip, 80, f"/service/{vip}", "peer")
        assert (status, answer["name"], answer["peer"]) == (200, "peer", pod)
        (log,) = mesh.sidecar.logged(path=f"/service/{vip}")
        assert log["original_destination"] == both(vip, 80)
        assert log["accepted_on"] == both("::1" if ":" in vip else "127.0.0.1", 15001)
        assert host_of(log["from"]) == pod
        assert log["listener"] == ("[::]_80" if ":" in vip else "0.0.0.0_80")
        assert (log["cluster"], log["endpoint"]) == ("peer-v6" if ":" in vip else "peer-v4", both(peer, 8080))

    def test_unknown_host_goes_where_it_was_going(self, mesh: Mesh, vip: str, peer: str, pod: str) -> None:
        status, answer = ask(mesh.pod, vip, 80, f"/unknown/{vip}", "elsewhere")
        assert (status, answer["name"]) == (200, "vip")
        (log,) = mesh.sidecar.logged(path=f"/unknown/{vip}")
        assert (log["cluster"], log["endpoint"]) == ("PassthroughCluster", both(vip, 80))

    def test_unknown_port_is_plain_tcp(self, mesh: Mesh, vip: str, peer: str, pod: str) -> None:
        with connect(mesh.pod, peer, 9000) as connection:
            assert line(connection) == pod
            connection.sendall(b"hello")
            assert connection.recv(5) == b"hello"
        (log,) = mesh.sidecar.logged(original_destination=both(peer, 9000))
        assert (log["filter_chain"], log["endpoint"]) == ("outbound-passthrough", both(peer, 9000))

    def test_nobody_there(self, mesh: Mesh, vip: str, peer: str, pod: str) -> None:
        assert ends_without_a_byte(connect(mesh.pod, peer, 4444))
        (log,) = mesh.sidecar.logged(original_destination=both(peer, 4444))
        assert "UF" in log["flags"].split(",")


@pytest.mark.parametrize(("pod", "inner"), PODS)
class TestInbound:
    def test_http(self, mesh: Mesh, pod: str, inner: str) -> None:
        check_inbound_http(mesh, pod, inner, f"/inbound/{inner}", both(pod, 15006))

    def test_plain_tcp_of_a_server_that_speaks_first(self, mesh: Mesh, pod: str, inner: str) -> None:
        with connect(mesh.world, pod, 9000) as connection:
            assert line(connection) == inner
            connection.sendall(b"hello")
            assert connection.recv(5) == b"hello"
        (log,) = mesh.sidecar.logged(original_destination=both(pod, 9000))
        assert log["accepted_on"] == both(pod, 15006)
        assert log["endpoint"] == both(pod, 9000)

    def test_large_body(self, mesh: Mesh, pod: str, inner: str) -> None:
        body = bytes(range(256)) * 16384
        status, answer = ask(mesh.world, pod, 8080, "/large", body=body)
        assert (status, answer["digest"]) == (200, hashlib.sha256(body).hexdigest())

    def test_nobody_there(self, mesh: Mesh, pod: str, inner: str) -> None:
        assert ends_without_a_byte(connect(mesh.world, pod, 4444))
        assert mesh.sidecar.logged(original_destination=both(pod, 4444))


def check_inbound_http(mesh: Mesh, pod: str, inner: str, path: str, accepted_on: str) -> None:
    """The application is called from the inner address, and the log knows where the caller wanted to go."""
    peer = PEER6 if ":" in pod else PEER4
    status, answer = ask(mesh.world, pod, 8080, path)
    assert (status, answer["name"], answer["peer"]) == (200, "app", inner)
    (log,) = mesh.sidecar.logged(path=path)
    assert log["accepted_on"] == accepted_on
    assert (log["original_destination"], log["endpoint"]) == (both(pod, 8080), both(pod, 8080))
    assert (host_of(log["from"]), host_of(log["source"])) == (peer, inner)


@pytest.mark.parametrize(("pod", "inner"), PODS)
class TestHairpin:
    """An application that calls itself."""

    def test_by_the_address_of_its_service(self, mesh: Mesh, pod: str, inner: str) -> None:
        vip = VIP6 if ":" in pod else VIP4
        status, answer = ask(mesh.pod, vip, 80, f"/self/{inner}", "self")
        assert (status, answer["name"], answer["peer"]) == (200, "app", inner)
        logs = {log["listener"]: log for log in mesh.sidecar.logged(2, path=f"/self/{inner}")}
        assert set(logs) == {"[::]_80" if ":" in pod else "0.0.0.0_80", "virtualInbound"}
        inbound = logs.pop("virtualInbound")
        (outbound,) = logs.values()
        assert (outbound["original_destination"], outbound["endpoint"]) == (both(vip, 80), both(pod, 8080))
        assert inbound["original_destination"] == both(pod, 8080)
        assert inbound["from"] == outbound["source"]
        assert inbound["id"] == outbound["id"] == answer["id"]

    def test_by_its_own_address_is_no_business_of_the_sidecar(self, mesh: Mesh, pod: str, inner: str) -> None:
        before = mesh.sidecar.accepted()
        status, answer = ask(mesh.pod, pod, 8080, "/direct")
        assert (status, answer["name"], answer["peer"]) == (200, "app", pod)
        assert mesh.sidecar.accepted() == before


OWN_PORTS = [
    pytest.param(where, host, port, id=f"{where}-{'v6' if ':' in host else 'v4'}-{port}")
    for where, hosts in (("pod", ("127.0.0.1", "::1", POD4, POD6)), ("world", (POD4, POD6)))
    for host in hosts
    for port in (15001, 15006)
]


def check_own_port(mesh: Mesh, where: str, host: str, port: int) -> None:
    """Connecting to the sidecar's own port leads nowhere: nothing is sent back, no connection breeds others."""
    sidecar = mesh.sidecar
    descriptors, accepted = sidecar.descriptors(), sidecar.accepted()
    for _ in range(3):
        namespace = mesh.pod if where == "pod" else mesh.world
        assert ends_without_a_byte(connect(namespace, host, port), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    time.sleep(0.1)
    # One for each that we made; one more where the inbound side passes the outbound port on, which ends it.
    assert 3 <= sidecar.accepted() - accepted <= 6
    deadline = time.monotonic() + 3
    while sidecar.descriptors() > descriptors:
        assert time.monotonic() < deadline, f"{sidecar.descriptors()} descriptors, {descriptors} before"
        time.sleep(0.05)


class TestOwnPorts:
    @pytest.mark.parametrize(("where", "host", "port"), OWN_PORTS)
    def test_closed_by_the_black_hole(self, mesh: Mesh, where: str, host: str, port: int) -> None:
        check_own_port(mesh, where, host, port)

    @pytest.mark.parametrize(("where", "host", "port"), OWN_PORTS)
    def test_never_dials_itself_even_without_one(self, careless: Mesh, where: str, host: str, port: int) -> None:
        check_own_port(careless, where, host, port)


def test_address_that_leads_into_the_black_hole(mesh: Mesh) -> None:
    assert ends_without_a_byte(connect(mesh.pod, VIP4, 81), b"hello")
    (log,) = mesh.sidecar.logged(listener="closed")
    assert (log["original_destination"], log["cluster"]) == (both(VIP4, 81), "BlackHoleCluster")
    assert log["endpoint"] in (None, "-")


def test_runs_as_the_exempt_user(mesh: Mesh) -> None:
    status = Path(f"/proc/{mesh.sidecar.process.pid}/status").read_text()
    fields = dict(entry.split(":\t", 1) for entry in status.splitlines() if ":\t" in entry)
    assert set(fields["Uid"].split()) == set(fields["Gid"].split()) == {"1337"}
    assert int(fields["CapEff"], 16) == 0


@pytest.mark.parametrize(("pod", "inner"), PODS)
class TestTproxy:
    """Inbound without NAT: the socket that the sidecar accepts on has the address the caller asked for."""

    def test_inbound_http(self, tproxy: Mesh, pod: str, inner: str) -> None:
        check_inbound_http(tproxy, pod, inner, f"/tproxy/{inner}", both(pod, 8080))

    def test_inbound_plain(self, tproxy: Mesh, pod: str, inner: str) -> None:
        with connect(tproxy.world, pod, 9000) as connection:
            assert line(connection) == inner
        (log,) = tproxy.sidecar.logged(original_destination=both(pod, 9000))
        assert log["accepted_on"] == both(pod, 9000)

    def test_hairpin(self, tproxy: Mesh, pod: str, inner: str) -> None:
        vip = VIP6 if ":" in pod else VIP4
        status, answer = ask(tproxy.pod, vip, 80, f"/self/{inner}", "self")
        assert (status, answer["name"], answer["peer"]) == (200, "app", inner)
        assert len(tproxy.sidecar.logged(2, path=f"/self/{inner}")) == 2

    def test_outbound_is_still_redirected(self, tproxy: Mesh, pod: str, inner: str) -> None:
        vip = VIP6 if ":" in pod else VIP4
        status, answer = ask(tproxy.pod, vip, 80, f"/out/{inner}", "peer")
        assert (status, answer["name"], answer["peer"]) == (200, "peer", pod)
