"""Which filters may stand towards hosts, and what the router measures of an attempt."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from meshproxy.config.http.upstream_filters import compile_upstream_filters
from meshproxy.errors import ConfigError
from meshproxy.headers import RequestHeaders
from meshproxy.model.cluster_policies import NO_POLICIES, ClusterPolicies
from meshproxy.model.listener import FilterSpec
from meshproxy.model.retry import RetryPolicy
from meshproxy.model.route import ForwardAction
from meshproxy.plugin.context import Stream
from meshproxy.plugin.http import BUFFER, HttpFilter
from meshproxy.plugin.view import ConfigView
from meshproxy_filters.http.router.measure import percent_used


class Plain(HttpFilter[Any]):
    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None: ...


class Waits(HttpFilter[Any]):
    async def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None: ...


class Reads(HttpFilter[Any]):
    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> Awaitable[None] | None: ...


class Buffers(HttpFilter[Any]):
    request_body = BUFFER


class Inactive(Plain):
    @classmethod
    def is_active(cls, config: Any) -> bool:
        return False


def filter_view(kind: str) -> ConfigView:
    from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

    message = HttpFilter(name="f")
    message.typed_config.type_url = f"type.googleapis.com/envoy.extensions.filters.http.{kind}"
    return ConfigView(message, path="", place=None, source="test")


CODEC = "upstream_codec.v3.UpstreamCodec"
OTHER = "buffer.v3.Buffer"


def compiled(filter_class: type[HttpFilter[Any]], *kinds: str) -> tuple[FilterSpec, ...]:
    views = [filter_view(kind) for kind in kinds or (OTHER, CODEC)]
    return compile_upstream_filters(views, lambda view: FilterSpec("f", filter_class, None))


def test_filters_that_look_at_heads_are_taken() -> None:
    assert [spec.filter_class for spec in compiled(Plain)] == [Plain]
    assert compiled(Inactive) == ()


@pytest.mark.parametrize("filter_class", [Waits, Reads, Buffers])
def test_filters_that_do_more_are_refused(filter_class: type[HttpFilter[Any]]) -> None:
    with pytest.raises(ConfigError, match="does more than change heads"):
        compiled(filter_class)


@pytest.mark.parametrize("kinds", [(OTHER,), (CODEC, OTHER), (CODEC, CODEC)])
def test_the_codec_is_the_last_and_no_other(kinds: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="the last HTTP filter towards hosts"):
        compiled(Plain, *kinds)


def test_policies_of_a_cluster_take_the_place_of_the_routes() -> None:
    action = ForwardAction(cluster="c", retry_policy=RetryPolicy(num_retries=1))
    assert NO_POLICIES.on(action) is action
    own = RetryPolicy(num_retries=5)
    policies = ClusterPolicies(retry=own)
    assert policies.on(action).retry_policy is own
    assert policies.on(action) is policies.on(action)
    for _ in range(300):  # of routes that come and go only so many are remembered
        policies.on(ForwardAction(cluster="c"))
    assert policies.on(action).retry_policy is own
    hashing = ClusterPolicies(hash_policy=lambda stream: None)
    assert hashing.on(action).retry_policy is action.retry_policy


def test_shares_of_a_timeout() -> None:
    assert percent_used(1.0, 4.0) == 25.0
    assert percent_used(5.0, 4.0) == 125.0
    assert percent_used(1.0, 0.0) == 0.0
