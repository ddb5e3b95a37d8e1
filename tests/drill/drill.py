"""The fault drill: a mesh-like cluster under a steady load, whose endpoints fail one after the other and come back.

The load is a number of connections that each send a request every few milliseconds; it is bounded in time. What is
measured is what a client sees: how many requests were answered with 200, failed, or took too long.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.drill.endpoints import Endpoint, Mood
from tests.drill.http2_endpoints import Http2Endpoint
from tests.parity.subject import Subject
from tests.ports import PortBlock

CONNECTIONS = 8
PAUSE = 0.02
ENDPOINTS = 4
_TYPES = "type.googleapis.com/envoy.extensions."


@dataclass(slots=True)
class Outcome:
    """answers: by status, "cut" for a connection that ended without one, "late" for one that took over 2 s."""

    answers: Counter[str] = field(default_factory=Counter)
    served: list[int] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(count for answer, count in self.answers.items() if answer != "200")

    @property
    def total(self) -> int:
        return sum(self.answers.values())


@dataclass(frozen=True)
class Policy:
    """retries: as Istio has them. hedging: another try beside one that is late. checks: hosts are asked how they are.
    http2: is spoken to the endpoints."""

    retries: bool = False
    hedging: bool = False
    checks: bool = False
    http2: bool = False


def _action(policy: Policy) -> dict[str, Any]:
    action: dict[str, Any] = {"cluster": "c", "timeout": "1.5s"}
    if policy.retries:
        action["retry_policy"] = {
            "retry_on": "connect-failure,refused-stream,unavailable,cancelled,reset,retriable-status-codes",
            "num_retries": 2,
            "per_try_timeout": "0.4s",
            "retriable_status_codes": [503],
            "host_selection_retry_max_attempts": 5,
            "retry_host_predicate": [
                {
                    "name": "p",
                    "typed_config": {"@type": f"{_TYPES}retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
        }
    if policy.hedging:
        action["retry_policy"]["per_try_timeout"] = "0.15s"
        action["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    return action


def _cluster(policy: Policy, ports: list[int]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(each)}} for each in ports]
    cluster: dict[str, Any] = {
        "name": "c",
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "lb_policy": "LEAST_REQUEST",
        "outlier_detection": {
            "consecutive_5xx": 3,
            "interval": "0.5s",
            "base_ejection_time": "1s",
            "max_ejection_percent": 60,
        },
        "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    if policy.checks:
        asks = {"path": "/", "codec_client_type": "HTTP2" if policy.http2 else "HTTP1"}
        often = {"timeout": "0.2s", "interval": "0.3s", "unhealthy_threshold": 1, "healthy_threshold": 1}
        cluster["health_checks"] = [{**often, "http_health_check": asks}]
    if policy.http2:
        cluster["http2_protocol_options"] = {}
    return cluster


def configuration(ports: list[int], port: int, admin_port: int, policy: Policy) -> dict[str, Any]:
    """What Istio makes of a service with outlier detection: LEAST_REQUEST, its retries, ejection after 3 failures."""
    route = {"match": {"prefix": "/"}, "route": _action(policy)}
    manager = {
        "@type": f"{_TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "drill",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "r", "typed_config": {"@type": f"{_TYPES}filters.http.router.v3.Router"}}],
    }
    return {
        "admin": {"address": _address(admin_port)},
        "static_resources": {
            "listeners": [
                {
                    "name": "l",
                    "address": _address(port),
                    "filter_chains": [{"filters": [{"name": "h", "typed_config": manager}]}],
                }
            ],
            "clusters": [_cluster(policy, ports)],
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


async def _load(port: int, until: float, outcome: Outcome) -> None:
    """One client that keeps its connection as long as it may."""
    loop = asyncio.get_running_loop()
    writer: asyncio.StreamWriter | None = None
    while loop.time() < until:
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: drill.test\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2.0)
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            await asyncio.wait_for(reader.readexactly(length), 2.0)
            outcome.answers[head[9:12].decode()] += 1
        except TimeoutError:
            outcome.answers["late"] += 1
            _drop(writer)
            writer = None
        except (OSError, asyncio.IncompleteReadError):
            outcome.answers["cut"] += 1
            _drop(writer)
            writer = None
        await asyncio.sleep(PAUSE)
    _drop(writer)


def _drop(writer: asyncio.StreamWriter | None) -> None:
    if writer is not None:
        writer.transport.abort()


async def drill(program: str, mood: Mood, policy: Policy, seconds: float = 4.0) -> Outcome:
    """One endpoint of four turns to `mood` after a quarter of the time, and comes back after three quarters."""
    outcome = Outcome()
    block = PortBlock()
    endpoints = [Http2Endpoint() if policy.http2 else Endpoint() for _ in range(ENDPOINTS)]
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        directory = Path(folder)
        port, admin_port = block.take(), block.take()
        for endpoint in endpoints:
            await endpoint.listen()
        config = directory / "drill.json"
        config.write_text(json.dumps(configuration([each.port for each in endpoints], port, admin_port, policy)))
        subject = Subject(program, directory, admin_port)
        await subject.start(config)
        try:
            until = asyncio.get_running_loop().time() + seconds
            clients = [asyncio.create_task(_load(port, until, outcome)) for _ in range(CONNECTIONS)]
            await asyncio.sleep(seconds / 4)
            await endpoints[0].turn(mood)
            await asyncio.sleep(seconds / 2)
            served = endpoints[0].served
            await endpoints[0].turn(Mood.GOOD)
            await asyncio.gather(*clients)
            outcome.served = [endpoints[0].served - served, *(each.served for each in endpoints[1:])]
        finally:
            await subject.stop()
            for endpoint in endpoints:
                await endpoint.stop()
            block.release()
    return outcome
