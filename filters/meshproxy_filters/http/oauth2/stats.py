"""What logins are counted as (Envoy: "OAuth2", statistics)."""

from __future__ import annotations

from meshproxy.plugin.stats import StatsScope


class OAuth2Stats:
    """`http.<prefix>.<stat_prefix>oauth_*`"""

    def __init__(self, scope: StatsScope) -> None:
        self.unauthorized = scope.counter("oauth_unauthorized_rq")
        self.failure = scope.counter("oauth_failure")
        self.passthrough = scope.counter("oauth_passthrough")
        self.allowed_failed = scope.counter("oauth_allow_failed_passthrough")
        self.success = scope.counter("oauth_success")
        self.refreshed = scope.counter("oauth_refreshtoken_success")
        self.not_refreshed = scope.counter("oauth_refreshtoken_failure")
        self.legacy_decrypted = scope.counter("oauth_legacy_cbc_decrypt")
        self.chunked = scope.counter("oauth_token_cookie_chunked")
        self.malformed_chunks = scope.counter("oauth_token_cookie_malformed_chunks")
        self.oversized = scope.counter("oauth_token_cookie_oversized")
        self.reassembled = scope.counter("oauth_token_cookie_reassembled")
