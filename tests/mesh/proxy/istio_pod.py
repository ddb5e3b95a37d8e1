"""A pod as Istio injects it: rules that capture TCP and DNS, `meshproxy agent` as uid 1337, istiod outside.

What the control plane says is `tests/data/istio/sidecar.yaml`, put where a pod has it: two listeners are bound, the
others stand behind them, and the application is called where its caller wanted to go. Port 8080 takes mutual TLS and
plain text (PERMISSIVE), 8090 mutual TLS alone (STRICT).
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.demo.kernel import network_of
from tests.mesh.interception.pods import PEER4, POD4, VIP4, Pods
from tests.system.istio_world import make_world, read_world
from tests.system.istiod import Authority, Istiod

from .sidecar import UID, start

SPIFFE = "spiffe://cluster.local/ns/default/sa/web"
PERMISSIVE, STRICT = 8080, 8090
PORTS = {"outbound": 15001, "inbound": 15006, "http": 80, "tcp": 9000}
_LABELS = json.dumps({"LABELS": {"app": "web", "version": "v1", "service.istio.io/canonical-name": "web-svc"}})


def world_of_a_pod() -> dict[str, dict[str, bytes]]:
    tree = read_world(application=PERMISSIVE, log="/dev/stdout", **PORTS)
    for listener in tree["listeners"]:
        if "internal_listener" in listener:
            continue
        listener["address"]["socket_address"]["address"] = "0.0.0.0"
        if not listener["name"].startswith("virtual"):
            listener["bind_to_port"] = False
    (database,) = (listener for listener in tree["listeners"] if listener["name"] == "10.0.0.9_9000")
    database["address"]["socket_address"]["address"] = VIP4
    (inbound,) = (listener for listener in tree["listeners"] if listener["name"] == "virtualInbound")
    of_port = inbound["filter_chains"][1:]
    for chain in of_port:
        chain["filter_chain_match"]["destination_port"] = PERMISSIVE
    strict = copy.deepcopy(of_port[0])
    strict["filter_chain_match"] = {"destination_port": STRICT, "transport_protocol": "tls"}
    inbound["filter_chains"].append(strict)
    for cluster in tree["clusters"]:
        if cluster["name"].startswith("inbound|"):
            del cluster["load_assignment"]
            cluster |= {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
            cluster["upstream_bind_config"] = {"source_address": {"address": "127.0.0.6", "port_value": 0}}
    for assignment in tree["endpoints"]:
        (host,) = assignment["endpoints"][0]["lb_endpoints"]
        host["endpoint"]["address"]["socket_address"] = {"address": POD4, "port_value": PERMISSIVE}
    return make_world(tree, VIP4)


class ControlPlane:
    """An `Istiod` in a thread of its own, listening in a network namespace."""

    def __init__(self, namespace: str) -> None:
        self.istiod = Istiod(Authority(SPIFFE), resources=world_of_a_pod())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(namespace), self._loop).result(20)

    async def _start(self, namespace: str) -> Any:
        with network_of(f"/run/netns/{namespace}"):
            return await self.istiod.start(15012, PEER4)

    def push(self) -> None:
        self._loop.call_soon_threadsafe(self.istiod.push)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(0), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class IstioPod:
    """The sidecar in pod `a` of `pods`, told by a control plane in `b`."""

    def __init__(self, work: Path, pods: Pods, control_plane: ControlPlane, environ: Mapping[str, str]) -> None:
        self.directory = work / f"{pods.a.name}-pod"
        self.directory.mkdir()
        self.output = self.directory / "output"
        (self.directory / "root.pem").write_bytes(control_plane.istiod.authority.root_pem)
        (self.directory / "resolv.conf").write_text(
            f"nameserver {PEER4}\nsearch default.svc.cluster.local shop.svc.cluster.local\n"
        )
        os.chown(self.directory, UID, UID)
        config = {"configPath": "etc", "discoveryAddress": f"{PEER4}:15012", "terminationDrainDuration": "0s"}
        variables = {
            "PROXY_CONFIG": json.dumps(config),
            "INSTANCE_IP": POD4,
            "ISTIO_META_DNS_CAPTURE": "true",
            "ISTIO_META_WORKLOAD_NAME": "web",
            "ISTIO_METAJSON_LABELS": _LABELS,
            "ISTIO_METAJSON_METADATA": _LABELS,
            "POD_NAME": "web-1",
            "SERVICE_ACCOUNT": "web",
            "CA_ROOT_CA": "root.pem",
            "XDS_ROOT_CA": "root.pem",
            "ISTIOD_SAN": "localhost",
            "ECC_SIGNATURE_ALGORITHM": "ECDSA",
            **environ,
        }
        arguments = ["agent", "proxy", "sidecar", "--domain", "default.svc.cluster.local", "--proxyLogLevel=warning"]
        self.process = start(work, pods.a.name, arguments, self.output, cwd=self.directory, environ=variables)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
