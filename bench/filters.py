"""What each HTTP filter costs a request, in Envoy and here.

Theory. One filter is too cheap to be seen in the CPU time of a whole request, so several of the same stand in the chain
and the difference to the bare chain is divided by their number. All four programs (each of the two with and without)
are loaded at once, so that whatever disturbs the machine disturbs all of them alike.

Requests are GETs that every filter looks at and lets pass. The token that jwt_authn checks differs from user to user.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench import load, process
from bench.measure import Bench
from bench.results import Result, Series
from bench.scenarios import FilterCosts
from bench.subjects import CONFIGS, Running, running

COPIES = 8
CONNECTIONS = 8
USERS = 500

_HTTP = "type.googleapis.com/envoy.extensions.filters.http."
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_POLICY = {
    "permissions": [{"and_rules": {"rules": [{"header": {"name": ":method", "string_match": {"exact": "GET"}}}]}}],
    "principals": [{"header": {"name": "user-agent", "string_match": {"prefix": "frontend/"}}}],
}
_ISSUER = "https://issuer.example"


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter as the table has it. message: its type below `envoy.extensions.filters.http`, or a whole type name.

    route: what the virtual host says to it, as a message's short type and its fields. ours: Envoy 1.40 doesn't have it.
    """

    name: str
    message: str
    config: dict[str, Any]
    copies: int = COPIES
    route: tuple[str, dict[str, Any]] | None = None
    ours: bool = False

    def entries(self) -> list[dict[str, Any]]:
        kind = self.message if "/" in self.message else _HTTP + self.message
        return [
            {"name": f"{self.name}-{number}", "typed_config": {"@type": kind, **self.config}}
            for number in range(self.copies)
        ]

    def of_virtual_host(self) -> dict[str, Any]:
        if self.route is None:
            return {}
        message, config = self.route
        return {entry["name"]: {"@type": _HTTP + message, **config} for entry in self.entries()}


def filters(key_set: str) -> tuple[Filter, ...]:
    """The filters of the table. key_set: where the keys of the requests' tokens are, as a JWKS."""
    mutations = {
        "request_mutations": [{"append": {"header": {"key": "x-mesh-source", "value": "frontend"}}}],
        "response_mutations": [{"remove": "x-powered-by"}],
    }
    limit = {
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": 1000000, "tokens_per_fill": 1000000, "fill_interval": "1s"},
        "filter_enabled": _ALWAYS,
        "filter_enforced": _ALWAYS,
    }
    cors = {"allow_origin_string_match": [{"suffix": ".shop.example"}], "allow_methods": "GET, POST"}
    agent = {
        "header": "user-agent",
        "on_header_present": {"metadata_namespace": "bench", "key": "agent", "type": "STRING"},
        "remove": False,
    }
    provider = {"issuer": _ISSUER, "local_jwks": {"inline_string": key_set}, "forward": True}
    tokens = {
        "providers": {"bench": provider},
        "rules": [
            {"match": {"path": "/cart/items/1"}},  # for the first answer, which the bench's own client waits for
            {"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}},
        ],
    }
    health = {"pass_through_mode": False, "headers": [{"name": ":path", "string_match": {"exact": "/healthz"}}]}
    metadata = {"metadata": [{"metadata_namespace": "bench", "value": {"tier": "gold"}}]}
    gzip = {
        "compressor_library": {
            "name": "gzip",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"},
        },
        "response_direction_config": {"common_config": {"min_content_length": 1024}},
    }
    return (
        Filter("rbac", "rbac.v3.RBAC", {"rules": {"action": "ALLOW", "policies": {"readers": _POLICY}}}),
        Filter("fault, off", "fault.v3.HTTPFault", {}),
        Filter("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", limit),
        Filter("cors, no origin", "cors.v3.Cors", {}, route=("cors.v3.CorsPolicy", cors)),
        Filter("csrf", "csrf.v3.CsrfPolicy", {"filter_enabled": _ALWAYS}),
        Filter("jwt_authn, RS256", "jwt_authn.v3.JwtAuthentication", tokens, copies=1),
        Filter("header_mutation", "header_mutation.v3.HeaderMutation", {"mutations": mutations}),
        Filter("header_to_metadata", "header_to_metadata.v3.Config", {"request_rules": [agent]}),
        Filter("set_metadata", "set_metadata.v3.Config", metadata),
        Filter("compressor, answer too short", "compressor.v3.Compressor", gzip),
        Filter("grpc_stats", "grpc_stats.v3.FilterConfig", {"emit_filter_state": True}),
        Filter("grpc_web", "grpc_web.v3.GrpcWeb", {}),
        Filter("health_check", "health_check.v3.HealthCheck", health),
        Filter("buffer", "buffer.v3.Buffer", {"max_request_bytes": 65536}),
        Filter("istio.stats", "type.googleapis.com/stats.PluginConfig", {}, ours=True),
    )


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def write_tokens(path: Path) -> str:
    """Write a token for each user, a line each; returns the key set that they can be checked with."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = key.public_key().public_numbers()
    lines = []
    for user in range(USERS):
        claims = {"iss": _ISSUER, "sub": f"user-{user}", "exp": int(time.time()) + 86400, "iat": int(time.time())}
        parts = ({"alg": "RS256", "typ": "JWT", "kid": "bench"}, claims)
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
        lines.append(f"{signed}.{_base64url(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}\n")
    path.write_text("".join(lines))
    modulus = _base64url(numbers.n.to_bytes(256, "big"))
    exponent = _base64url(numbers.e.to_bytes(3, "big"))
    return json.dumps({"keys": [{"kty": "RSA", "alg": "RS256", "kid": "bench", "n": modulus, "e": exponent}]})


def write_config(path: Path, tested: Filter | None) -> Path:
    """The configuration `router`, with `tested` before the router."""
    config = yaml.safe_load((CONFIGS / "router.yaml").read_text())
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    if tested is not None:
        manager["http_filters"][:0] = tested.entries()
        manager["route_config"]["virtual_hosts"][0]["typed_per_filter_config"] = tested.of_virtual_host()
    path.write_text(json.dumps(config))
    return path


def _round(bench: Bench, subjects: Sequence[Running], seed: int, tokens: Path) -> list[float]:
    """Microseconds of CPU per request of each, all loaded at once."""
    before = [process.cpu_time(one.pid) for one in subjects]
    seen = load.run([one.port for one in subjects], CONNECTIONS, "mesh", max(bench.seconds, 2), seed, tokens)
    spent = [process.cpu_time(one.pid) - then for one, then in zip(subjects, before, strict=True)]
    return [time_.total / its.requests for time_, its in zip(spent, seen, strict=True)]


def measure_filters(bench: Bench, scenario: FilterCosts) -> Result:
    """A series per filter."""
    result = Result(scenario.name, scenario.title, [])
    tokens = bench.directory / "tokens"
    with ExitStack() as stack:

        def start(config: Path, subjects: Sequence[Any], within: ExitStack) -> list[Running]:
            return [
                within.enter_context(running(one, config, bench.backends, bench.directory, bench.proxy_cpu))
                for one in subjects
            ]

        tested = filters(write_tokens(tokens))
        bare = start(write_config(bench.directory / "bare.yaml", None), bench.subjects, stack)
        for number, one in enumerate(tested):
            series = Series(one.name, "us", comparable=False)
            result.series.append(series)
            config = write_config(bench.directory / f"filter-{number}.yaml", one)
            subjects = bench.subjects[-1:] if one.ours else bench.subjects
            with ExitStack() as within:
                loaded = [*bare[-len(subjects) :], *start(config, subjects, within)]
                _round(bench, loaded, 0, tokens)  # fills pools, caches, memories
                for seed in range(1, bench.rounds + 1):
                    costs = _round(bench, loaded, seed, tokens)
                    for place, subject in enumerate(subjects):
                        added = costs[len(subjects) + place] - costs[place]
                        series.add(subject.name, added / one.copies)
    return result
