"""A whole Istio sidecar under the rules of the kernel: what the application and its callers see of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest

from examples.demo.kernel import network_of
from tests.mesh.interception.pods import PEER4, POD4, VIP4, Pods
from tests.system.dns_server import DnsServer, Zone
from tests.system.istio_world import ROUTES

from .applications import Applications
from .conftest import RULES
from .istio_pod import PERMISSIVE, SPIFFE, STRICT, ControlPlane, IstioPod
from .sidecar import ask, connect
from .test_traffic import ends_without_a_byte, line

PROBERS = {"/app-health/app/readyz": {"httpGet": {"path": "/ready", "port": 8080}, "timeoutSeconds": 5}}
SCRAPE = {"scrape": "true", "path": "/stats", "port": "8080"}


class Rig:
    def __init__(self, work: Path) -> None:
        self.pods, self.applications = Pods(), Applications()
        self._closing = contextlib.ExitStack()
        self._closing.callback(self.pods.close)
        self._closing.callback(self.applications.close)
        done = self.pods.a.intercept(*RULES, "--redirect-dns", "--capture-all-dns")
        assert done.returncode == 0, done.stderr
        for port in (PERMISSIVE, STRICT):
            self.applications.http(self.pods.a.name, port, "app")
        self.applications.http(self.pods.b.name, 8080, "peer")
        self.applications.plain(self.pods.b.name, 9001)
        with network_of(f"/run/netns/{self.pods.b.name}"):
            self.dns = DnsServer(Zone({("outside.test", "A"): [(60, "192.0.2.1")]}), PEER4, 53)
        self._closing.callback(self.dns.close)
        self.control_plane = ControlPlane(self.pods.b.name)
        self._closing.callback(self.control_plane.close)
        environ = {"ISTIO_KUBE_APP_PROBERS": json.dumps(PROBERS), "ISTIO_PROMETHEUS_ANNOTATIONS": json.dumps(SCRAPE)}
        self.pod = IstioPod(work, self.pods, self.control_plane, environ)
        self._closing.callback(self.pod.kill)
        (work / "client.pem").write_bytes(b"".join(self.control_plane.istiod.authority.client(SPIFFE)))
        self.certificate = work / "client.pem"

    def close(self) -> None:
        self._closing.close()

    def page(self, port: int, path: str) -> tuple[int, str]:
        """What anybody outside of the pod is answered there."""
        client = http.client.HTTPConnection(POD4, port, timeout=10)
        client.sock = connect(self.pods.b.name, POD4, port)
        with contextlib.closing(client):
            client.request("GET", path)
            response = client.getresponse()
            return response.status, response.read().decode()

    def until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.page(15021, "/healthz/ready")[0] == 200:
                    return
            assert self.pod.process.poll() is None, self.pod.output.read_text()
            assert time.monotonic() < deadline, self.pod.output.read_text()
            time.sleep(0.1)

    def mutual(self, port: int, *alpn: str) -> ssl.SSLSocket:
        """A connection as another sidecar of the mesh makes it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(self.certificate)
        context.set_alpn_protocols(list(alpn))
        return context.wrap_socket(connect(self.pods.b.name, POD4, port), server_hostname="outbound_.80_._.web")

    def metric(self, name: str, **labels: str) -> dict[str, str]:
        """The labels of the one statistic of this name that has these."""
        deadline = time.monotonic() + 10
        while True:
            found = []
            for entry in self.page(15090, "/stats/prometheus")[1].splitlines():
                if entry.startswith(f"{name}{{"):
                    given = dict(re.findall(r'(\w+)="([^"]*)"', entry))
                    if labels.items() <= given.items():
                        found.append(given)
            if found:
                (only,) = found
                return only
            assert time.monotonic() < deadline, f"no {name} with {labels}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def rig(work: Path) -> Iterator[Rig]:
    rig = Rig(work)
    try:
        rig.until_ready()
        yield rig
        assert rig.pod.stop() == 0
    finally:
        rig.close()


def test_nothing_was_refused(rig: Rig) -> None:
    seen = rig.control_plane.istiod.seen
    assert [request.error_detail.message for request in seen if request.HasField("error_detail")] == []


def test_a_service_is_called_over_mutual_tls_from_end_to_end(rig: Rig) -> None:
    """By its address: out through 15001, in through 15006, and from 127.0.0.6 to the application."""
    status, answer = ask(rig.pods.a.name, VIP4, 80, "/service", "web.shop")
    assert (status, answer["name"], answer["peer"], answer["path"]) == (200, "app", "127.0.0.6", "/service")
    labels = {"response_code": "200", "request_protocol": "http"}
    called = rig.metric("istio_requests_total", reporter="destination", source_workload="web", **labels)
    assert (called["connection_security_policy"], called["source_principal"]) == ("mutual_tls", SPIFFE)
    calling = rig.metric("istio_requests_total", reporter="source", destination_workload="web", **labels)
    assert calling["destination_service"] == "web.shop.svc.cluster.local"
    rig.metric("envoy_cluster_upstream_rq_total", cluster_name="outbound|80||web.shop.svc.cluster.local")
    deadline = time.monotonic() + 10
    while len(lines := re.findall(r'.*"GET /service HTTP/1.1" 200 - .*', rig.pod.output.read_text())) < 2:
        assert time.monotonic() < deadline, rig.pod.output.read_text()
        time.sleep(0.05)
    to_application, to_service = sorted(lines, key=lambda entry: " outbound|80||" in entry)
    assert f'"{POD4}:8080" outbound|80||web.shop.svc.cluster.local' in to_service
    assert f" {VIP4}:80 {POD4}:" in to_service
    assert re.search(
        rf'"{POD4}:8080" inbound\|8080\|\| 127\.0\.0\.6:\d+ {POD4}:8080 {POD4}:\d+ outbound_', to_application
    )


def test_what_a_policy_refuses_is_told_with_its_service(rig: Rig) -> None:
    status, _ = ask(rig.pods.a.name, VIP4, 80, "/admin/x", "web.shop")
    assert status == 403
    refused = rig.metric("istio_requests_total", reporter="destination", response_code="403")
    assert refused["destination_service"] == "web.shop.svc.cluster.local"


def test_permissive_takes_plain_text(rig: Rig) -> None:
    status, answer = ask(rig.pods.b.name, POD4, PERMISSIVE, "/plain", "web.shop")
    assert (status, answer["peer"]) == (200, "127.0.0.6")
    assert rig.metric("istio_requests_total", source_workload="unknown")["connection_security_policy"] == "none"


@pytest.mark.parametrize("port", [PERMISSIVE, STRICT])
def test_another_sidecar_is_let_in(rig: Rig, port: int) -> None:
    with rig.mutual(port, "istio-http/1.1", "istio", "http/1.1") as connection:
        connection.sendall(b"GET /mutual HTTP/1.1\r\nhost: web.shop\r\nconnection: close\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"


def test_strict_takes_nothing_else(rig: Rig) -> None:
    request = b"GET / HTTP/1.1\r\nhost: web.shop\r\n\r\n"
    assert ends_without_a_byte(connect(rig.pods.b.name, POD4, STRICT), request)


def test_what_the_mesh_does_not_know_goes_where_it_was_going(rig: Rig) -> None:
    assert ask(rig.pods.a.name, PEER4, 8080, "/outside", "peer")[1]["name"] == "peer"
    with connect(rig.pods.a.name, PEER4, 9001) as connection:
        assert line(connection) == POD4


@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_names_are_captured_and_answered_as_if_by_the_server_that_was_asked(rig: Rig, way: str) -> None:
    answers = {}
    for name in ("web.shop.svc.cluster.local", "outside.test"):
        query = dns.message.make_query(name, "A")
        with network_of(f"/run/netns/{rig.pods.a.name}"):
            reply = getattr(dns.query, way)(query, PEER4, timeout=5)
        answers[name] = [str(item) for item in reply.answer[0]]
    assert answers == {"web.shop.svc.cluster.local": [VIP4], "outside.test": ["192.0.2.1"]}
    assert {name for name, _, _ in rig.dns.zone.asked} == {"outside.test"}


def test_probes_and_scrapes_come_from_outside(rig: Rig) -> None:
    assert rig.page(15020, "/app-health/app/readyz")[0] == 200
    assert rig.page(15020, "/healthz/ready")[0] == 200
    page = rig.page(15020, "/stats/prometheus")[1]
    assert {"istio_agent_dns_requests_total", "istio_requests_total"} <= set(re.findall(r"^\w+", page, re.MULTILINE))
    assert '"path": "/stats"' in page  # what the application answers


def test_a_change_of_routes_arrives(rig: Rig) -> None:
    assert ask(rig.pods.a.name, VIP4, 80, "/later", "later.shop")[0] != 200
    resources = rig.control_plane.istiod.resources[ROUTES]
    resources["80"] = resources["80"].replace(b"10.0.0.7", b"new.shop")
    rig.control_plane.push()
    deadline = time.monotonic() + 10
    while ask(rig.pods.a.name, VIP4, 80, "/later", "new.shop")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_sidecar_has_no_rights(rig: Rig) -> None:
    status = Path(f"/proc/{rig.pod.process.pid}/status").read_text()
    assert re.search(r"^Uid:\t1337\t1337\t1337\t1337$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
