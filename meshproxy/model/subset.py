"""Subsets of a cluster's hosts by metadata (envoy.config.cluster.v3.Cluster.LbSubsetConfig)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class SubsetSelector:
    """Hosts are grouped by their values of `keys` (sorted).

    fallback: what becomes of requests that ask for just these keys in vain; "NOT_DEFINED" leaves it to the cluster.
    fallback_keys: for KEYS_SUBSET, which of the keys still count.
    """

    keys: tuple[str, ...]
    fallback: str = "NOT_DEFINED"
    fallback_keys: frozenset[str] = frozenset()
    single_host: bool = False


@dataclass(frozen=True, slots=True)
class SubsetOptions:
    """fallback: NO_FALLBACK, ANY_ENDPOINT or DEFAULT_SUBSET, for requests that no selector serves.

    metadata_fallback: FALLBACK_LIST: a request may list alternatives under `fallback_list`.
    """

    selectors: tuple[SubsetSelector, ...]
    fallback: str = "NO_FALLBACK"
    default: Mapping[str, Any] = field(default_factory=dict, hash=False)
    locality_weight_aware: bool = False
    scale_locality_weight: bool = False
    panic_mode_any: bool = False
    list_as_any: bool = False
    metadata_fallback: bool = False
    allow_redundant_keys: bool = False
