"""gRPC services (envoy.config.core.v3.GrpcService): behind clusters, or by their address (`google_grpc`)."""

from __future__ import annotations

from dataclasses import replace

from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.google_grpc import compile_google_grpc
from meshproxy.model.grpc_service import GrpcService
from meshproxy.plugin.view import ConfigView

_RETRY_BASE = 0.5
_RETRY_MAX = 30.0


def compile_grpc_service(view: ConfigView, context: CompileContext) -> GrpcService:
    """Compile one service. Raises ConfigError. Its cluster need not be there yet: calls fail until it is."""
    if view.which("target_specifier") == "google_grpc":
        own = compile_google_grpc(view.required("google_grpc"), context)
        base, maximum = _compile_back_off(view)
        return replace(
            own,
            initial_metadata=(*own.initial_metadata, *_compile_metadata(view, context)),
            timeout=view.duration("timeout") or None,
            retry_base=base,
            retry_max=maximum,
        )
    envoy = view.required("envoy_grpc")
    cluster = envoy.text("cluster_name")
    limit = envoy.integer("max_receive_message_length") if envoy.has("max_receive_message_length") else 0
    base, maximum = _compile_back_off(envoy if envoy.has("retry_policy") else view)
    return GrpcService(
        cluster=cluster,
        authority=envoy.text("authority") or cluster,
        initial_metadata=_compile_metadata(view, context),
        timeout=view.duration("timeout") or None,
        max_message=limit,
        skip_envoy_headers=envoy.boolean("skip_envoy_headers"),
        retry_base=base,
        retry_max=maximum,
    )


def _compile_back_off(holder: ConfigView) -> tuple[float, float]:
    """The bounds of the waiting between two streams."""
    policy = holder.view("retry_policy")
    back_off = policy.view("retry_back_off") if policy is not None else None
    if back_off is None:
        return _RETRY_BASE, _RETRY_MAX
    base = back_off.seconds("base_interval", _RETRY_BASE)
    maximum = back_off.duration("max_interval")
    if maximum is None:
        maximum = base * 10
    if maximum < base:
        back_off.fail("max_interval must be greater than or equal to the base_interval", "max_interval")
    return base, maximum


def _compile_metadata(view: ConfigView, context: CompileContext) -> tuple[tuple[str, str], ...]:
    """The header fields of each call: constant texts, since no request is there that an operator could ask of."""
    fields = []
    for field in view.views("initial_metadata"):
        value = context.formats.header(field.text("value"))
        if not isinstance(value, str):
            field.fail("only constant values are supported by meshproxy here", "value")
        fields.append((field.text("key").lower(), value))
    return tuple(fields)
