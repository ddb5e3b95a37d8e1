"""From a seed to a case: the configuration, and requests that its routes and filters have something to do with."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.tokens import token

from ..case import Act, Case, Client, Upstream
from ..h2_peer import Data, Head
from ..own.adapt import adapt
from ..own.comparison import case_of, client_of, versions
from ..own.requests import Request, of_route_table
from .dice import Dice
from .headers import VALUES
from .listeners import bootstrap
from .routes import CLUSTERS

_HEADERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    *((name, VALUES) for name in ("x-a", "x-b", "x-user", "x-mixed-case", "accept-language", "user-agent")),
    ("cookie", ("c=1; d=2", "h=old", "c=alpha")),
    ("origin", ("http://any.test", "https://evil.test", "null")),
    ("accept-encoding", ("gzip", "gzip;q=0", "br, *", "identity")),
    ("x-forwarded-for", ("10.1.2.3", "1.2.3.4, 127.0.0.1", "junk")),
    ("x-forwarded-proto", ("https", "http", "ftp")),
    ("x-request-id", ("3c8a1d5e-7b1f-9c4d-8e2a-000000000000",)),
    ("x-envoy-max-retries", ("1", "junk")),
    ("x-envoy-retry-on", ("5xx", "reset")),
    ("x-envoy-upstream-rq-timeout-ms", ("5000", "0", "-1")),
    ("x-envoy-fault-abort-request", ("418", "9")),
    ("x-envoy-force-trace", ("true",)),
    ("x-cluster", (*CLUSTERS, "none")),
    ("authorization", (f"Bearer {token()}", "Bearer junk", "Basic YW5uOnRlc3Q=", "Basic x")),
    ("content-type", ("application/json", "text/plain", "application/grpc-web", "application/grpc")),
    ("if-none-match", ('"tag"',)),
    ("x_under", ("1",)),
    ("te", ("trailers",)),
    ("cdn-loop", ("alpha", "beta, alpha")),
    ("expect", ("100-continue",)),
    ("via", ("1.1 before",)),
    ("x-forwarded-client-cert", ("By=spiffe://a;Hash=00",)),
)
_BODIES = ("", "some body", '{"a": {"b": "text"}}', "x" * 3000)
_ANSWERS = {
    "plain": (200, "from plain " * 20),
    "second": (200, "second"),
    "busy": (503, "busy"),
    "h2": (200, "from h2"),
    "secure": (302, ""),
}


def generated(seed: int, most: int) -> Case:
    dice = Dice(seed)
    config = bootstrap(dice)
    case = case_of(f"seed-{seed}", config, most)
    adapted = adapt(config)
    clients: list[Client] = []
    for entrance in adapted.entrances:
        requests = list(of_route_table(entrance.manager["route_config"]))
        for request in dice.some(requests, most, most):
            for h2 in versions(entrance, request):
                clients.append(client_of(entrance, _decorated(dice, request), len(clients) + 1, h2=h2))
    names = [cluster["name"] for cluster in adapted.config["static_resources"]["clusters"]]
    upstreams = {
        key: _answering(name, script) for name, (key, script) in zip(names, case.upstreams.items(), strict=True)
    }
    masks = ((r"(lb_subsets_(?:active|created)): \d+", r"\1"),)  # which Envoy counts once more per thread
    return replace(
        case, masks=masks, clients=tuple(clients), upstreams=upstreams, config=json.dumps(adapted.config, indent=1)
    )


def _decorated(dice: Dice, request: Request) -> Request:
    """With headers and a body that filters look at."""
    if request.method == "CONNECT":
        return request
    if not request.path.startswith("/"):
        request = replace(request, path=f"/{request.path}")
    added = [(name, dice.choice(values)) for name, values in dice.some(_HEADERS, 0, 4)]
    names = {name for name, _ in request.headers}
    headers = (*request.headers, *(pair for pair in added if pair[0] not in names))
    body = dice.choice(_BODIES) if request.method in ("POST", "PUT") or dice.often(0.1) else ""
    return replace(request, headers=headers, body=body)


def _answering(cluster: str, script: Upstream) -> Upstream:
    if cluster == "broken":
        return replace(script, answers=((Act.CLOSE,),))
    status, body = _ANSWERS[cluster]
    fields = {"content-type": "text/plain", "x-up": cluster, "x-twice": "a", "etag": '"tag"', "server": "up"}
    if status == 302:
        fields["location"] = "http://any.test/a"
    if script.mode == "h2":
        pairs = (*fields.items(), ("content-length", str(len(body))))
        return replace(script, answers=((Head(status, pairs), Data(body.encode(), True)),))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return replace(script, answers=((f"HTTP/1.1 {status} Some\r\n{lines}content-length: {len(body)}\r\n\r\n{body}",),))
