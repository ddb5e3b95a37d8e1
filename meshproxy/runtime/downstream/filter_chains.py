"""The filter chains of a listener in one worker, and which of them a connection goes to.

A chain that a new configuration leaves as it was is the same object there, and so keeps its connections and what its
filters share; that is what makes an in-place update of a listener possible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.chain.match import FilterChainMatcher
from meshproxy.chain.match_tree import TreeChainMatcher
from meshproxy.model.listener import FilterChain, Listener
from meshproxy.plugin.stats import StatsScope
from meshproxy.runtime.downstream.connection import Maker


class ActiveChain:
    """A filter chain with what its filters' instances share in this worker."""

    __slots__ = ("__weakref__", "_scope", "config", "incomplete", "makers")

    def __init__(self, config: FilterChain, scope: StatsScope) -> None:
        """scope: the listener's."""
        self.config = config
        self._scope = scope
        for spec in config.filters:
            if spec.slot is not None:
                spec.slot.attach(self)
        self.use_filters()

    def use_filters(self) -> None:
        """Make them anew, for the connections that come from now on: discovery may have changed one."""
        specs = [spec.current() for spec in self.config.filters]
        self.incomplete = None in specs
        self.makers: tuple[Maker, ...] = ()
        if not self.incomplete:
            self.makers = tuple(
                (spec.filter_class, spec.filter_class.for_worker(spec.config, spec.context, self._scope), spec.context)
                for spec in specs
                if spec is not None
            )


class ListenerChains:
    """find: the chain for what is known of a connection (`Socket`), None where none matches. scope: the listener's."""

    find: Callable[[Any], ActiveChain | None]

    def __init__(self, config: Listener, scope: StatsScope) -> None:
        self._scope = scope
        self._active: dict[FilterChain, ActiveChain] = {}
        self.update(config)

    def update(self, config: Listener) -> list[ActiveChain]:
        """Make the chains that are new, keep those that stay. Returns those that are gone."""
        before, scope = self._active, self._scope
        default = config.default_filter_chain
        wanted = [*config.filter_chains, *((default,) if default is not None else ())]
        self._active = {chain: before.get(chain) or ActiveChain(chain, scope) for chain in wanted}
        otherwise = self._active[default] if default is not None else None
        if config.chain_tree is not None:
            by_name = {chain.name: self._active[chain] for chain in config.filter_chains}
            self.find = TreeChainMatcher(config.chain_tree, by_name, otherwise).find
        else:
            rules = [(chain.match, self._active[chain]) for chain in config.filter_chains]
            self.find = FilterChainMatcher.build(rules, otherwise).find
        return [active for chain, active in before.items() if chain not in self._active]
