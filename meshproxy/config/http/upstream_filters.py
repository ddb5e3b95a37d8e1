"""HTTP filters towards hosts (HttpProtocolOptions.http_filters, Router.upstream_http_filters).

The last one is the codec, which is there in any case. Of the others those are taken that look at heads and trailers
alone and answer at once: an attempt is no stream of its own here, with bodies that could be held.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from meshproxy.model.listener import FilterSpec
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.view import ConfigView

_CODEC = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
_BODY_HOOKS = ("on_request_body", "on_response_body", "on_stream_complete")
_HEAD_HOOKS = ("on_request_headers", "on_request_trailers", "on_response_headers", "on_response_trailers")


def compile_upstream_filters(
    views: Sequence[ConfigView], compile_one: Callable[[ConfigView], FilterSpec]
) -> tuple[FilterSpec, ...]:
    """The filters before the codec. compile_one: one of them. Raises ConfigError."""
    specs: list[FilterSpec] = []
    for index, view in enumerate(views):
        typed = view.any("typed_config")
        is_codec = typed is not None and typed.full_name == _CODEC
        if is_codec != (index == len(views) - 1):
            view.fail(f"the last HTTP filter towards hosts, and no other, is {_CODEC}", "typed_config")
        if is_codec:
            view.text("name")
            continue
        spec = compile_one(view)
        if spec.slot is not None or not _is_taken(spec.filter_class, spec.config):
            view.fail(f"'{spec.name}' can't be a filter towards hosts in meshproxy: it does more than change heads")
        if not spec.disabled and spec.filter_class.is_active(spec.config):
            specs.append(replace(spec, filter_class=spec.filter_class.for_config(spec.config)))
    return tuple(specs)


def _is_taken(filter_class: type[Any], config: Any) -> bool:
    if not issubclass(filter_class, HttpFilter) or filter_class.terminal:
        return False
    filter_class = filter_class.for_config(config)
    if filter_class.buffers_request(config) or filter_class.buffers_response(config):
        return False
    overridden = [hook for hook in _BODY_HOOKS if getattr(filter_class, hook) is not getattr(HttpFilter, hook)]
    waits = [hook for hook in _HEAD_HOOKS if inspect.iscoroutinefunction(getattr(filter_class, hook))]
    return not overridden and not waits
