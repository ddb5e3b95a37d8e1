"""Subset load balancing, in both forms: `lb_subset_config`, and the extension policy
envoy.extensions.load_balancing_policies.subset.v3.Subset."""

from __future__ import annotations

from meshproxy.model.subset import SubsetOptions, SubsetSelector
from meshproxy.plugin.view import ConfigView


def compile_subsets(view: ConfigView, *, extension: bool = False) -> SubsetOptions | None:
    """None without selectors: then there are no subsets. Raises ConfigError."""
    default = view.struct("default_subset")
    selectors = tuple(_compile_selector(entry) for entry in view.views("subset_selectors"))
    options = SubsetOptions(
        selectors=selectors,
        fallback=view.enum("fallback_policy"),
        default=default.value if default is not None else {},
        locality_weight_aware=view.boolean("locality_weight_aware"),
        scale_locality_weight=view.boolean("scale_locality_weight"),
        panic_mode_any=view.boolean("panic_mode_any"),
        list_as_any=view.boolean("list_as_any"),
        metadata_fallback=view.enum("metadata_fallback_policy") == "FALLBACK_LIST",
        allow_redundant_keys=extension and view.boolean("allow_redundant_keys"),
    )
    return options if selectors else None


def _compile_selector(view: ConfigView) -> SubsetSelector:
    keys = tuple(sorted(set(view.texts("keys"))))
    fallback = view.enum("fallback_policy")
    fallback_keys = frozenset(view.texts("fallback_keys_subset"))
    single = view.boolean("single_host_per_subset")
    if fallback == "KEYS_SUBSET":
        if not fallback_keys:
            view.fail("fallback_keys_subset cannot be empty", "fallback_policy")
        if not fallback_keys < set(keys):
            view.fail("fallback_keys_subset must be a subset of keys, and not all of them", "fallback_keys_subset")
    elif fallback_keys:
        view.fail("fallback_keys_subset can be set only for KEYS_SUBSET fallback_policy", "fallback_keys_subset")
    if single and len(keys) != 1:
        view.fail(
            "subset_lb selector: single_host_per_subset cannot be set when there isn't exactly 1 key or if that "
            "key is empty",
            "single_host_per_subset",
        )
    return SubsetSelector(keys, fallback, fallback_keys, single)
