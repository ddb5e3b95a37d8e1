"""What Envoy 1.40's API has beyond the package `xds-protos` in the messages of HTTP filters; see `newer_api`."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, OneofDescriptorProto
from google.protobuf.duration_pb2 import Duration
from validate import validate_pb2
from validate.validate_pb2 import BoolRules, DurationRules, EnumRules, FieldRules, StringRules, UInt32Rules

from meshproxy.messages.declared import OF, Additions, enum, field, required, ruled, text_field

_JWT_AUTHN = "envoy.extensions.filters.http.jwt_authn.v3"
_OAUTH2 = ".envoy.extensions.filters.http.oauth2.v3"
_HEADER_MATCHER = ".envoy.config.route.v3.HeaderMatcher"


def _count(name: str, number: int, least: int, most: int) -> FieldDescriptorProto:
    declared = field(name, number, OF.TYPE_MESSAGE, ".google.protobuf.UInt32Value")
    return ruled(declared, FieldRules(uint32=UInt32Rules(gte=least, lte=most)))


def _assertion() -> DescriptorProto:
    algorithms = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
    algorithm = field("signing_algorithm", 1, OF.TYPE_ENUM, f"{_OAUTH2}.PrivateKeyJwtConfig.SigningAlgorithm")
    lifetime = field("assertion_lifetime", 2, OF.TYPE_MESSAGE, ".google.protobuf.Duration")
    return DescriptorProto(
        name="PrivateKeyJwtConfig",
        enum_type=[enum("SigningAlgorithm", algorithms)],
        field=[
            ruled(algorithm, FieldRules(enum=EnumRules(defined_only=True))),
            ruled(lifetime, FieldRules(duration=DurationRules(gte=Duration(seconds=1)))),
            text_field("assertion_audience", 3),
        ],
    )


def _post_logout() -> DescriptorProto:
    disabled = ruled(field("disabled", 1, OF.TYPE_BOOL), FieldRules(bool=BoolRules(const=True)))
    uri = text_field("uri", 2, least=1)
    disabled.oneof_index = uri.oneof_index = 0
    config = OneofDescriptorProto(name="config")
    config.options.Extensions[validate_pb2.required] = True
    return DescriptorProto(name="PostLogoutRedirectUri", field=[disabled, uri], oneof_decl=[config])


def _token_header() -> DescriptorProto:
    rules = StringRules(min_len=1, well_known_regex=validate_pb2.HTTP_HEADER_NAME, strict=False)
    header = ruled(field("header", 1, OF.TYPE_STRING), FieldRules(string=rules))
    return DescriptorProto(name="OAuth2TokenForwarding", field=[header])


def _oauth2() -> Additions:
    chunking = DescriptorProto(
        name="TokenCookieChunking",
        field=[_count("max_cookie_size", 1, 512, 4096), _count("max_chunks", 2, 2, 16)],
    )
    of_route = required(field("config", 1, OF.TYPE_MESSAGE, f"{_OAUTH2}.OAuth2Config"))
    return Additions(
        {
            "CookieConfig": [field("partitioned", 3, OF.TYPE_BOOL)],
            "OAuth2Config": [
                field("allow_failed_matcher", 27, OF.TYPE_MESSAGE, _HEADER_MATCHER, repeated=True),
                text_field("original_request_uri", 28),
                field("allowed_redirect_domains", 29, OF.TYPE_STRING, repeated=True),
                field("use_access_token_expiry_for_id_token_cookie", 30, OF.TYPE_BOOL),
                field("forward_id_token", 31, OF.TYPE_MESSAGE, f"{_OAUTH2}.OAuth2TokenForwarding"),
                field("private_key_jwt_config", 32, OF.TYPE_MESSAGE, f"{_OAUTH2}.PrivateKeyJwtConfig"),
                field("post_logout_redirect_uri", 33, OF.TYPE_MESSAGE, f"{_OAUTH2}.PostLogoutRedirectUri"),
                field("token_cookie_chunking", 34, OF.TYPE_MESSAGE, f"{_OAUTH2}.TokenCookieChunking"),
            ],
        },
        messages=[
            _assertion(),
            _token_header(),
            _post_logout(),
            chunking,
            DescriptorProto(name="OAuth2PerRoute", field=[of_route]),
        ],
        values={"OAuth2Config.AuthType": ["TLS_CLIENT_AUTH", "PRIVATE_KEY_JWT"]},
        freed={"OAuth2Credentials": ["token_secret"]},
    )


_STRING_MATCHER = ".envoy.type.matcher.v3.StringMatcher"
_HTTP = "envoy/extensions/filters/http"
_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"


def _realm(number: int) -> FieldDescriptorProto:
    return ruled(text_field("realm", number), FieldRules(string=StringRules(pattern=_NO_CONTROLS)))


def _response_code_details() -> Additions:
    preserve = ruled(field("preserve_response_code_details", 5, OF.TYPE_BOOL), FieldRules(bool=BoolRules(const=True)))
    details = text_field("response_code_details", 6, least=1)
    for each in (preserve, details):
        each.name = f"response_code_details_action/{each.name}"
    return Additions({"LocalResponsePolicy": [preserve, details]})


def _claim_paths() -> Additions:
    """Names of claims are told by a path or by one text, so none of the two has to be there."""
    segment = DescriptorProto(name="PathSegment", field=[text_field("key", 1, least=1)])
    path = field("claim_path", 3, OF.TYPE_MESSAGE, f".{_JWT_AUTHN}.JwtClaimToHeader.PathSegment", repeated=True)
    return Additions(
        {"JwtClaimToHeader": [path]},
        nested={"JwtClaimToHeader": [segment]},
        freed={"JwtClaimToHeader": ["claim_name"]},
    )


FILTER_ADDITIONS = {
    f"{_HTTP}/basic_auth/v3/basic_auth.proto": Additions(
        {
            "BasicAuth": [
                field("allow_missing", 4, OF.TYPE_BOOL),
                field("emit_dynamic_metadata", 5, OF.TYPE_BOOL),
                _realm(6),
            ],
            "BasicAuthPerRoute": [_realm(2)],
        }
    ),
    f"{_HTTP}/compressor/v3/compressor.proto": Additions(
        {
            "Compressor.CommonDirectionConfig": [
                field("content_type_matcher", 4, OF.TYPE_MESSAGE, _STRING_MATCHER, repeated=True)
            ],
            "Compressor.ResponseDirectionConfig": [field("weaken_etag_on_compress", 6, OF.TYPE_BOOL)],
        },
        dependencies=["envoy/type/matcher/v3/string.proto"],
    ),
    f"{_HTTP}/ext_authz/v3/ext_authz.proto": Additions({"ExtAuthz": [field("shadow_mode", 32, OF.TYPE_BOOL)]}),
    f"{_HTTP}/fault/v3/fault.proto": Additions({"FaultAbort": [text_field("response_body", 6)]}),
    f"{_HTTP}/jwt_authn/v3/config.proto": _claim_paths(),
    f"{_HTTP}/local_ratelimit/v3/local_rate_limit.proto": Additions(
        {"LocalRateLimit": [field("enable_retry_after_header", 19, OF.TYPE_BOOL)]}
    ),
    f"{_HTTP}/oauth2/v3/oauth.proto": _oauth2(),
    f"{_HTTP}/ratelimit/v3/rate_limit.proto": Additions(
        {"RateLimit": [text_field("metadata_namespace", 18), field("enable_retry_after_header", 19, OF.TYPE_BOOL)]}
    ),
    f"{_HTTP}/set_filter_state/v3/set_filter_state.proto": Additions(
        {"Config": [field("clear_route_cache", 2, OF.TYPE_BOOL)]}
    ),
    f"{_HTTP}/stateful_session/v3/stateful_session.proto": Additions(
        {"StatefulSession": [field("status_on_strict_destination_not_found", 4, OF.TYPE_UINT32)]}
    ),
    "envoy/extensions/http/custom_response/local_response_policy/v3/local_response_policy.proto": (
        _response_code_details()
    ),
    "envoy/extensions/http/injected_credentials/generic/v3/generic.proto": Additions(
        {"Generic": [text_field("header_value_prefix", 3)]}
    ),
    "envoy/type/v3/token_bucket.proto": Additions({}, freed={"TokenBucket": ["max_tokens"]}),
}
