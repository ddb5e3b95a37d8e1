"""Which hosts and priorities a retry keeps away from (envoy.extensions.retry.host and .priority)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshproxy.config.values.metadata import compile_subset_metadata
from meshproxy.model.retry import HostRefusal
from meshproxy.plugin.view import ConfigView

_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
_OMIT_CANARIES = "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"
_OMIT_METADATA = "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig"
_PREVIOUS_PRIORITIES = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"


def compile_host_refusals(views: Sequence[ConfigView]) -> tuple[HostRefusal, ...]:
    """`retry_host_predicate`. Raises ConfigError."""
    return tuple(_compile_refusal(view) for view in views)


def _compile_refusal(view: ConfigView) -> HostRefusal:
    view.text("name")  # a label; the predicate is found by the type of its configuration, as in Envoy
    typed = view.any("typed_config")
    name = typed.full_name if typed is not None else ""
    if name == _PREVIOUS_HOSTS:
        return _was_tried
    if name == _OMIT_CANARIES:
        return _is_canary
    if name == _OMIT_METADATA and typed is not None and typed.view is not None:
        return _with_metadata(compile_subset_metadata(typed.view, "metadata_match") or {})
    view.fail(f"the only retry_host_predicate of meshproxy are those of Envoy, not '{name}'")


def _was_tried(host: Any, tried: tuple[Any, ...]) -> bool:
    return host in tried


def _is_canary(host: Any, tried: tuple[Any, ...]) -> bool:
    return host.metadata.get("envoy.lb", {}).get("canary") is True


def _with_metadata(wanted: Mapping[str, Any]) -> HostRefusal:
    def has_all(host: Any, tried: tuple[Any, ...]) -> bool:
        fields = host.metadata.get("envoy.lb", {})
        return all(_holds(fields.get(key), value) for key, value in wanted.items())

    return has_all


def _holds(found: Any, value: Any) -> bool:
    return bool(found == value) or (isinstance(found, list) and value in found)


def compile_retry_priority(view: ConfigView | None) -> int:
    """`retry_priority`: after how many attempts the priorities tried are left out; 0: never. Raises ConfigError."""
    if view is None:
        return 0
    view.text("name")
    typed = view.any("typed_config")
    if typed is None or typed.full_name != _PREVIOUS_PRIORITIES or typed.view is None:
        view.fail(f"the only retry_priority of meshproxy is {_PREVIOUS_PRIORITIES}")
    return typed.view.integer("update_frequency")
