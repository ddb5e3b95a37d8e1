"""HTTP filters in any order, and what routes say of them."""

from __future__ import annotations

from typing import Any

from tests.tokens import jwks

from .dice import Dice, typed
from .headers import header_match, mutations, string_match

_HTTP = "filters.http"
_ALL = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_USERS = {"inline_string": "ann:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE="}


def chain(dice: Dice) -> list[dict[str, Any]]:
    """Some filters and the router. A name says which kind it is; `per_route` goes by it."""
    kinds = dice.some(list(_KINDS), 0, 5)
    filters = [typed(kind, _KINDS[kind][0], _KINDS[kind][1](dice)) for kind in kinds]
    for each in filters:
        if dice.often(0.08):
            each["disabled"] = True
    router = dice.fields(
        0.12,
        suppress_envoy_headers=True,
        respect_expected_rq_timeout=True,
        strict_check_headers=["x-envoy-max-retries"],
    )
    return [*filters, typed("router", f"{_HTTP}.router.v3.Router", router)]


def per_route(dice: Dice, filters: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for each in filters[:-1]:
        name = each["name"]
        override = _KINDS[name][2:]
        if override and dice.often(0.6):
            found[name] = typed("", override[0], override[1](dice))["typed_config"]
        elif dice.often(0.2):
            found[name] = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
    return found


def _cors(dice: Dice) -> dict[str, Any]:
    return {"allow_origin_string_match": [string_match(dice), {"exact": "http://any.test"}]} | dice.fields(
        0.4,
        allow_methods="GET, PUT",
        allow_headers="x-a,x-b",
        expose_headers="x-up",
        max_age="600",
        allow_credentials=lambda: dice.often(0.5),
        filter_enabled=lambda: _ALL,
        allow_private_network_access=True,
        forward_not_matching_preflights=lambda: dice.often(0.5),
    )


def _csrf(dice: Dice) -> dict[str, Any]:
    return {"filter_enabled": _ALL} | dice.fields(0.5, additional_origins=lambda: [string_match(dice)])


def _fault(dice: Dice) -> dict[str, Any]:
    abort = dice.one_of(http_status=lambda: dice.choice((418, 503, 200)), header_abort={}, grpc_status=lambda: 14)
    return dice.fields(
        0.6,
        abort={**abort, "percentage": {"numerator": 100}},
        headers=lambda: [header_match(dice)],
        upstream_cluster="second",
        disable_downstream_cluster_stats=True,
    )


def _rules(dice: Dice) -> dict[str, Any]:
    def permission() -> dict[str, Any]:
        return dice.one_of(
            any=True,
            header=lambda: header_match(dice),
            url_path=lambda: {"path": string_match(dice)},
            destination_ip={"address_prefix": "127.0.0.0", "prefix_len": 8},
            not_rule=lambda: {"header": header_match(dice)},
            or_rules=lambda: {"rules": [{"header": header_match(dice)}, {"header": header_match(dice)}]},
        )

    def principal() -> dict[str, Any]:
        return dice.one_of(
            any=True,
            header=lambda: header_match(dice),
            direct_remote_ip={"address_prefix": "127.0.0.1", "prefix_len": 32},
            remote_ip=lambda: {"address_prefix": dice.choice(("10.0.0.0", "127.0.0.1")), "prefix_len": 8},
            authenticated={},
            metadata={"filter": "gen", "path": [{"key": "key"}], "value": {"string_match": {"prefix": "a"}}},
            not_id=lambda: {"header": header_match(dice)},
        )

    policies = {
        f"p{n}": {"permissions": [permission()], "principals": [principal()]} for n in range(dice.randint(1, 3))
    }
    return {"action": dice.choice(("ALLOW", "DENY", "LOG")), "policies": policies}


def _rbac(dice: Dice) -> dict[str, Any]:
    return dice.fields(
        0.7, rules=lambda: _rules(dice), shadow_rules=lambda: _rules(dice), shadow_rules_stat_prefix="shadow."
    )


def _limit(dice: Dice) -> dict[str, Any]:
    return {
        "stat_prefix": "local",
        "token_bucket": {"max_tokens": dice.choice((1, 100000)), "tokens_per_fill": 1, "fill_interval": "3600s"},
        "filter_enabled": _ALL,
    } | dice.fields(
        0.4,
        filter_enforced=lambda: _ALL,
        status=lambda: {"code": dice.choice(("TooManyRequests", "ServiceUnavailable"))},
        response_headers_to_add=[{"header": {"key": "x-limited", "value": "%PROTOCOL%"}}],
        enable_x_ratelimit_headers="OFF",
        rate_limited_as_resource_exhausted=True,
    )


def _compressor(dice: Dice) -> dict[str, Any]:
    common = dice.fields(0.5, min_content_length=lambda: dice.choice((30, 1000)), content_type=["text/plain"])
    direction = dice.fields(
        0.3,
        disable_on_etag_header=True,
        remove_accept_encoding_header=True,
        uncompressible_response_codes=[503],
        status_header_enabled=True,
        weaken_etag_on_compress=True,
    )
    library = typed("lib", "compression.gzip.compressor.v3.Gzip", {})
    return {"compressor_library": library, "response_direction_config": {"common_config": common, **direction}}


def _to_metadata(dice: Dice) -> dict[str, Any]:
    pair = {"metadata_namespace": "gen", "key": "key", "type": dice.choice(("STRING", "NUMBER", "PROTOBUF_VALUE"))}
    rewrite = {"pattern": {"regex": "^(a|b)"}, "substitution": "<\\1>"}
    rule: dict[str, Any] = {"header": dice.choice(("x-a", "x-user", ":path"))}
    rule["on_header_present"] = pair | dice.fields(0.3, regex_value_rewrite=rewrite)
    return {"request_rules": [rule | dice.fields(0.4, on_header_missing={**pair, "value": "7"}, remove=False)]}


def _json(dice: Dice) -> dict[str, Any]:
    rule = {
        "selectors": [{"key": "a"}, {"key": "b"}][: dice.randint(1, 2)],
        "on_present": {"metadata_namespace": "gen", "key": "key"},
        "on_missing": {"metadata_namespace": "gen", "key": "key", "value": "none"},
        "on_error": {"metadata_namespace": "gen", "key": "key", "value": "error"},
    }
    return {"request_rules": {"rules": [rule]} | dice.fields(0.4, allow_empty_content_type=True)}


def _jwt(dice: Dice) -> dict[str, Any]:
    provider = {"issuer": "iss", "local_jwks": {"inline_string": jwks()}} | dice.fields(
        0.4, forward=True, from_cookies=["token"], payload_in_metadata="payload", forward_payload_header="x-payload"
    )
    requires = dice.one_of(
        provider_name="p",
        requires_any={"requirements": [{"provider_name": "p"}, {"allow_missing": {}}]},
        requires_all={"requirements": [{"provider_name": "p"}, {"allow_missing_or_failed": {}}]},
    )
    rule = {"match": {"prefix": dice.choice(("/", "/a"))}, "requires": requires}
    return {"providers": {"p": provider}, "rules": [rule]} | dice.fields(
        0.3, bypass_cors_preflight=True, strip_failure_response=True, requirement_map={"named": {"provider_name": "p"}}
    )


def _custom(dice: Dice) -> dict[str, Any]:
    policy = "http.custom_response.local_response_policy.v3.LocalResponsePolicy"
    action = typed("a", policy, {"body": {"inline_string": "custom"}, "status_code": dice.choice((200, 503, 429))})
    code = typed("i", "type.googleapis.com/x", {})
    code["typed_config"] = {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput"}
    single = {"input": code, "value_match": {"exact": dice.choice(("503", "418"))}}
    return {
        "custom_response_matcher": {
            "matcher_list": {"matchers": [{"predicate": {"single_predicate": single}, "on_match": {"action": action}}]}
        }
    }


def _state(dice: Dice) -> dict[str, Any]:
    value = {
        "object_key": "gen.state",
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": dice.choice(("%REQ(X-A)%", "fixed", "%PROTOCOL%"))}},
    }
    return {"on_request_headers": [value | dice.fields(0.4, skip_if_empty=True, shared_with_upstream="ONCE")]}


def _keys(dice: Dice) -> dict[str, Any]:
    sources = [dice.one_of(header="x-user", query="q", cookie="c") for _ in range(2)]
    return {"credentials": [{"key": "alpha", "client": "ann"}, {"key": "1", "client": "bob"}], "key_sources": sources}


def _tags(dice: Dice) -> dict[str, Any]:
    ranges = [{"address_prefix": "127.0.0.0", "prefix_len": 8}]
    tags = [{"ip_tag_name": "loop", "ip_list": ranges}]
    return {"request_type": dice.choice(("BOTH", "INTERNAL", "EXTERNAL")), "ip_tags": tags}


def _header_mutation(dice: Dice) -> dict[str, Any]:
    return {
        "mutations": dice.fields(
            0.6, request_mutations=lambda: mutations(dice), response_mutations=lambda: mutations(dice)
        )
    }


def _disabled(dice: Dice) -> dict[str, Any]:
    return {"disabled": True}


def _authz(dice: Dice) -> dict[str, Any]:
    service = {
        "server_uri": {"uri": "http://authz", "cluster": dice.choice(("plain", "busy", "broken")), "timeout": "5s"}
    }
    return {"transport_api_version": "V3", "http_service": service} | dice.fields(
        0.3,
        failure_mode_allow=True,
        status_on_error={"code": "BadGateway"},
        clear_route_cache=True,
        with_request_body={"max_request_bytes": 100, "allow_partial_message": True},
    )


# Kind -> type and configuration, and where routes may say more, type and configuration of that.
_KINDS: dict[str, tuple[Any, ...]] = {
    "cors": (f"{_HTTP}.cors.v3.Cors", lambda dice: {}, f"{_HTTP}.cors.v3.CorsPolicy", _cors),
    "csrf": (f"{_HTTP}.csrf.v3.CsrfPolicy", _csrf, f"{_HTTP}.csrf.v3.CsrfPolicy", _csrf),
    "fault": (f"{_HTTP}.fault.v3.HTTPFault", _fault, f"{_HTTP}.fault.v3.HTTPFault", _fault),
    "rbac": (f"{_HTTP}.rbac.v3.RBAC", _rbac, f"{_HTTP}.rbac.v3.RBACPerRoute", lambda dice: dice.fields(0.7, rbac=lambda: _rbac(dice))),
    "limit": (f"{_HTTP}.local_ratelimit.v3.LocalRateLimit", _limit, f"{_HTTP}.local_ratelimit.v3.LocalRateLimit", _limit),
    "compressor": (f"{_HTTP}.compressor.v3.Compressor", _compressor, f"{_HTTP}.compressor.v3.CompressorPerRoute", _disabled),
    "to_metadata": (f"{_HTTP}.header_to_metadata.v3.Config", _to_metadata, f"{_HTTP}.header_to_metadata.v3.Config", _to_metadata),
    "json": (f"{_HTTP}.json_to_metadata.v3.JsonToMetadata", _json),
    "jwt": (f"{_HTTP}.jwt_authn.v3.JwtAuthentication", _jwt, f"{_HTTP}.jwt_authn.v3.PerRouteConfig", _disabled),
    "custom": (f"{_HTTP}.custom_response.v3.CustomResponse", _custom),
    "state": (f"{_HTTP}.set_filter_state.v3.Config", _state),
    "keys": (f"{_HTTP}.api_key_auth.v3.ApiKeyAuth", _keys, f"{_HTTP}.api_key_auth.v3.ApiKeyAuthPerRoute", lambda dice: {"allowed_clients": ["ann"]}),
    "tags": (f"{_HTTP}.ip_tagging.v3.IPTagging", _tags),
    "basic": (f"{_HTTP}.basic_auth.v3.BasicAuth", lambda dice: {"users": _USERS} | dice.fields(0.4, forward_username_header="x-name", allow_missing=True)),
    "mutation": (f"{_HTTP}.header_mutation.v3.HeaderMutation", _header_mutation, f"{_HTTP}.header_mutation.v3.HeaderMutationPerRoute", _header_mutation),
    "buffer": (f"{_HTTP}.buffer.v3.Buffer", lambda dice: {"max_request_bytes": dice.choice((20, 65536))}, f"{_HTTP}.buffer.v3.BufferPerRoute", _disabled),
    "health": (f"{_HTTP}.health_check.v3.HealthCheck", lambda dice: {"pass_through_mode": False, "headers": [{"name": ":path", "string_match": {"exact": "/a"}}]}),
    "authz": (f"{_HTTP}.ext_authz.v3.ExtAuthz", _authz, f"{_HTTP}.ext_authz.v3.ExtAuthzPerRoute", _disabled),
    "web": (f"{_HTTP}.grpc_web.v3.GrpcWeb", lambda dice: {}),
    "stats": (f"{_HTTP}.grpc_stats.v3.FilterConfig", lambda dice: dice.fields(0.5, emit_filter_state=True, stats_for_all_methods=True)),
    "bridge": (f"{_HTTP}.grpc_http1_bridge.v3.Config", lambda dice: {}),
    "loop": (f"{_HTTP}.cdn_loop.v3.CdnLoopConfig", lambda dice: {"cdn_id": "alpha", "max_allowed_occurrences": dice.choice((0, 1))}),
    "set": (f"{_HTTP}.set_metadata.v3.Config", lambda dice: {"metadata": [{"metadata_namespace": "gen", "value": {"key": "set", "n": 1.5}, "allow_overwrite": dice.often(0.5)}]}),
}  # fmt: skip
