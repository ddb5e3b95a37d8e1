"""The OpenTelemetry tracer's samplers and resources."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from meshproxy.model.http import HttpConnectionManagerConfig
from meshproxy.model.tracing import OpenTelemetryProvider, Sampler
from tests.unit.config_compile.cases import bootstrap
from tests.unit.config_compile.compiling import compile_text, make_context

_EXTENSIONS = "type.googleapis.com/envoy.extensions.tracers.opentelemetry"
_RATIO = f"{{name: r, typed_config: {{'@type': {_EXTENSIONS}.samplers.v3.TraceIdRatioBasedSamplerConfig, %s}}}}"
_ENVIRONMENT = (
    f"resource_detectors: [{{name: e, typed_config: {{'@type': "
    f"{_EXTENSIONS}.resource_detectors.v3.EnvironmentResourceDetectorConfig}}}}]"
)


def provider(fields: str, environ: dict[str, str] | None = None) -> OpenTelemetryProvider:
    kind = "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig"
    text = bootstrap("hcm", f"tracing: {{provider: {{name: o, typed_config: {{'@type': {kind}, {fields}}}}}}}")
    manager = compile_text(text, make_context(environ=environ or {})).listeners[0].filter_chains[0].filters[0].config
    assert isinstance(manager, HttpConnectionManagerConfig)
    assert manager.tracing is not None
    assert isinstance(manager.tracing.provider, OpenTelemetryProvider)
    return manager.tracing.provider


def sampler(text: str) -> Sampler:
    found = provider(f"sampler: {text}").sampler
    assert found is not None
    return found


def test_a_share_of_trace_ids() -> None:
    half = sampler(_RATIO % "sampling_percentage: {numerator: 50}")
    first_eight = [int.from_bytes(number.to_bytes(8, "little") + bytes(8), "big") for number in (49, 50, 149, 250)]
    assert [half(None, trace_id) for trace_id in first_eight] == [True, False, True, False]
    assert not sampler(_RATIO % "sampling_percentage: {numerator: 0}")(None, 1)
    millionth = sampler(_RATIO % "sampling_percentage: {numerator: 1, denominator: MILLION}")
    assert [millionth(None, trace_id) for trace_id in (0, first_eight[0])] == [True, False]


def test_a_parent_decides_if_there_is_one() -> None:
    never = _RATIO % "sampling_percentage: {numerator: 0}"
    kind = f"{_EXTENSIONS}.samplers.v3.ParentBasedSamplerConfig"
    based = sampler(f"{{name: p, typed_config: {{'@type': {kind}, wrapped_sampler: {never}}}}}")
    assert based(SimpleNamespace(sampled=True), 1)
    assert not based(SimpleNamespace(sampled=False), 1)
    assert not based(None, 1)


@pytest.mark.parametrize(
    ("value", "attributes"),
    [
        ("", (("service.name", "unknown_service:envoy"),)),
        ("a=b,service.name=me", (("service.name", "me"), ("a", "b"))),
        ("nonsense", (("service.name", "unknown_service:envoy"),)),
    ],
)
def test_the_environment_says_what_we_are(value: str, attributes: tuple[tuple[str, str], ...]) -> None:
    assert provider(_ENVIRONMENT, {"OTEL_RESOURCE_ATTRIBUTES": value}).attributes == attributes
