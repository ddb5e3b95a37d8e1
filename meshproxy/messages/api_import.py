"""Adds to Envoy's published API what Envoy 1.40 has and the package `xds-protos` doesn't have yet.

The package follows Envoy some releases behind, so fields that Envoy takes would be unknown here. What is missing
stands in `meshproxy.messages.newer_api`. A message type can't grow once protobuf knows it, so the additions are made
while its generated module is imported: an import hook, for those modules alone, shows them a descriptor pool that
puts the additions into the file that the module declares. Whoever imports such a module, and when, gets the whole
message. An addition that the package has learnt meanwhile changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
else:  # the bases only say what there has to be, and on 3.11 their module imports a twentieth of what the program needs
    Loader = MetaPathFinder = object

EXTENDED = frozenset(
    f"envoy.{file}_pb2"
    for file in (
        "config.cluster.v3.circuit_breaker",
        "config.cluster.v3.cluster",
        "config.cluster.v3.outlier_detection",
        "config.core.v3.health_check",
        "config.core.v3.protocol",
        "config.route.v3.route_components",
        "extensions.access_loggers.open_telemetry.v3.logs_service",
        "extensions.clusters.dns.v3.dns_cluster",
        "extensions.filters.http.basic_auth.v3.basic_auth",
        "extensions.filters.http.compressor.v3.compressor",
        "extensions.filters.http.ext_authz.v3.ext_authz",
        "extensions.filters.http.fault.v3.fault",
        "extensions.filters.http.jwt_authn.v3.config",
        "extensions.filters.http.local_ratelimit.v3.local_rate_limit",
        "extensions.filters.http.oauth2.v3.oauth",
        "extensions.filters.http.ratelimit.v3.rate_limit",
        "extensions.filters.http.set_filter_state.v3.set_filter_state",
        "extensions.filters.http.stateful_session.v3.stateful_session",
        "extensions.http.custom_response.local_response_policy.v3.local_response_policy",
        "extensions.http.injected_credentials.generic.v3.generic",
        "config.listener.v3.listener",
        "extensions.filters.network.http_connection_manager.v3.http_connection_manager",
        "extensions.filters.network.tcp_proxy.v3.tcp_proxy",
        "extensions.transport_sockets.tls.v3.tls_spiffe_validator_config",
        "type.matcher.v3.address",
        "type.v3.token_bucket",
    )
)
"""The modules with additions, those of `newer_api.ADDITIONS`; listed here too so that protobuf isn't imported early."""


class _ExtendingPool:
    """The default descriptor pool, but that one file is extended on its way in."""

    def __init__(self, pool: Any, file: str, extended: Callable[[str, bytes], bytes]) -> None:
        self._pool = pool
        self._file = file
        self._extended = extended
        self._head = b"\n" + bytes([len(file)]) + file.encode()  # field 1 of the serialized file: its name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def AddSerializedFile(self, data: bytes) -> Any:
        # What the module imports is added on the way, and is none of ours.
        return self._pool.AddSerializedFile(self._extended(self._file, data) if data.startswith(self._head) else data)


class _ExtendingLoader(Loader):
    """Runs a generated module with an `_ExtendingPool` in place of the default pool."""

    def __init__(self, inner: Loader, file: str) -> None:
        self._inner = inner
        self._file = file

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        from google.protobuf import descriptor_pool

        from meshproxy.messages.newer_api import extended

        default = descriptor_pool.Default
        pool: Any = _ExtendingPool(default(), self._file, extended)
        descriptor_pool.Default = lambda: pool
        try:
            self._inner.exec_module(module)
        finally:
            descriptor_pool.Default = default


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in EXTENDED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ExtendingLoader(spec.loader, fullname.removesuffix("_pb2").replace(".", "/") + ".proto")
        return spec


def install() -> None:
    """Make imports go through the hook; once is enough, more does no harm."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
