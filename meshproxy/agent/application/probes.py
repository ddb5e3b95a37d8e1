"""The application's own probes, made by the agent in the kubelet's place.

With mutual TLS required the kubelet can't reach the application, so the injector points each probe at the agent and
hands the original over in `ISTIO_KUBE_APP_PROBERS`: JSON, path -> `httpGet`, `tcpSocket` or `grpc`, as in a pod's
specification. A path that isn't there is 400, a probe that fails or has no answer 500, as with pilot-agent. A redirect
within the host is followed, one to elsewhere is the answer; of a long body the beginning will do, as for the kubelet.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from meshproxy.agent.application.grpc_probe import check_health
from meshproxy.agent.http import HttpError, Reply, Request, fetch, text_reply
from meshproxy.errors import ConfigError, Problem
from meshproxy.records import dataclass

_VARIABLE = "ISTIO_KUBE_APP_PROBERS"
_OURS = frozenset(("host", "user-agent", "connection", "content-length", "transfer-encoding", "accept-encoding"))
_MAX_BODY = 10 << 10
_MAX_REDIRECTS = 10
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


@dataclass(frozen=True, slots=True)
class Prober:
    """One probe. kind: "http", "tcp" or "grpc"; timeout in seconds.

    path: for gRPC the name of the service. headers: beside those of the kubelet's own request.
    """

    kind: str
    port: int
    host: str = ""
    path: str = "/"
    https: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    timeout: float = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a probe is sent to. path: with its query."""

    host: str
    port: int
    path: str
    https: bool

    def redirected(self, location: str) -> Target | None:
        """Where a `location` leads to, if that is on the same host. Raises HttpError for what is none."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        base = f"http{'s' if self.https else ''}://{host}:{self.port}{self.path}"
        try:
            url = urlsplit(urljoin(base, location))
            port = url.port
        except ValueError as error:
            raise HttpError(f"redirected to '{location}': {error}") from None
        if url.hostname != self.host.lower() or url.scheme not in ("http", "https"):
            return None
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        https = url.scheme == "https"
        return Target(self.host, port or (443 if https else 80), path, https)


def read_probers(variables: Mapping[str, str]) -> dict[str, Prober]:
    """Probers by path. Raises ConfigError."""
    text = variables.get(_VARIABLE, "")
    if not text:
        return {}
    try:
        entries = json.loads(text)
        return {path: read_prober(entry) for path, entry in entries.items()}
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(Problem(_VARIABLE, f"can't be read: {error}", "environment")) from None


def read_prober(entry: Mapping[str, object]) -> Prober:
    """One of a pod's specification. Raises ValueError, KeyError, TypeError."""
    timeout = float(str(entry.get("timeoutSeconds") or 1))
    get, tcp, grpc = entry.get("httpGet"), entry.get("tcpSocket"), entry.get("grpc")
    if isinstance(get, dict):
        headers = tuple((str(field["name"]), str(field["value"])) for field in get.get("httpHeaders") or ())
        path = str(get.get("path") or "/")
        return Prober(
            "http",
            _port(get["port"]),
            str(get.get("host") or ""),
            path if path.startswith("/") else f"/{path}",
            str(get.get("scheme") or "HTTP").upper() == "HTTPS",
            headers,
            timeout,
        )
    if isinstance(tcp, dict):
        return Prober("tcp", _port(tcp["port"]), str(tcp.get("host") or ""), timeout=timeout)
    if isinstance(grpc, dict):
        return Prober("grpc", _port(grpc["port"]), path=str(grpc.get("service") or ""), timeout=timeout)
    raise ValueError("a probe has neither httpGet nor tcpSocket nor grpc")


def _port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise ValueError(f"{value!r} is not the number of a port")
    return value


async def probe(prober: Prober, request: Request, application_ip: str) -> Reply:
    """Make the probe. application_ip: where the application listens unless the probe names a host."""
    host = prober.host or application_ip
    try:
        if prober.kind == "tcp":
            async with asyncio.timeout(prober.timeout):
                _, writer = await asyncio.open_connection(host, prober.port)
            writer.close()
            return Reply(200)
        if prober.kind == "grpc":
            wrong = await check_health(host, prober.port, prober.path, prober.timeout)
            return text_reply(f"{wrong}\n", 500) if wrong else Reply(200)
        return await _probe_http(prober, request, host)
    except (HttpError, OSError, TimeoutError) as error:
        return text_reply(f"{error or 'no answer in time'}\n", 500)


async def _probe_http(prober: Prober, request: Request, host: str) -> Reply:
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _OURS]
    headers += prober.headers
    if not any(name.lower() == "user-agent" for name, _ in headers):
        headers.append(("user-agent", request.headers.get("user-agent", "kube-probe/meshproxy")))
    async with asyncio.timeout(prober.timeout):
        reply = await _follow(Target(host, prober.port, prober.path, prober.https), headers, prober.timeout)
    kept = [(name, value) for name, value in reply.headers if name in ("content-type", "location")]
    return Reply(reply.status, reply.body, kept)


async def _follow(target: Target, headers: list[tuple[str, str]], timeout: float) -> Reply:
    for _ in range(_MAX_REDIRECTS + 1):
        reply = await fetch(
            target.host,
            target.port,
            target.path,
            headers=headers,
            timeout=timeout,
            tls=_unverified() if target.https else None,
            max_body=_MAX_BODY,
            cut=True,
        )
        location = next((value for name, value in reply.headers if name == "location"), "")
        following = target.redirected(location) if reply.status in _REDIRECTS and location else None
        if following is None:
            return reply
        target = following
    raise HttpError(f"more than {_MAX_REDIRECTS} redirects")


def _unverified() -> ssl.SSLContext:
    """The kubelet doesn't verify the certificate of a probe either (Kubernetes: HTTP probes)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
