"""What a cluster says of the requests to it, beside how they are sent
(envoy.extensions.upstreams.http.v3.HttpProtocolOptions, envoy.config.cluster.v3.TrackClusterStats)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from typing import Any

from meshproxy.model.listener import FilterSpec
from meshproxy.model.mirror import MirrorPolicy
from meshproxy.model.retry import RetryPolicy
from meshproxy.model.route import ForwardAction
from meshproxy.records import dataclass

_MANY_ACTIONS = 256


@dataclass(frozen=True, slots=True, eq=False)
class ClusterPolicies:
    """retry, hash_policy, mirrors: take the place of the route's where they are given.

    filters: that each attempt passes on its way to its host, the codec left out. judges_error: whether a response
    with this head counts as a failure of its host, whatever its status; None: its status decides.
    timeout_budgets, sizes: what is measured. endpoints: each host has statistics of its own.
    """

    retry: RetryPolicy | None = None
    hash_policy: Callable[[Any], None] | None = None
    mirrors: tuple[MirrorPolicy, ...] = ()
    filters: tuple[FilterSpec, ...] = ()
    judges_error: Callable[[Any], bool] | None = None
    timeout_budgets: bool = False
    sizes: bool = False
    endpoints: bool = False
    _actions: dict[ForwardAction, ForwardAction] = field(default_factory=dict, init=False)

    def on(self, action: ForwardAction) -> ForwardAction:
        """The action with the policies of the cluster instead of the route's."""
        if self.retry is None and self.hash_policy is None and not self.mirrors:
            return action
        found = self._actions.get(action)
        if found is None:
            if len(self._actions) >= _MANY_ACTIONS:  # routes come and go
                self._actions.clear()
            found = self._actions[action] = replace(
                action,
                retry_policy=self.retry if self.retry is not None else action.retry_policy,
                hash_policy=self.hash_policy if self.hash_policy is not None else action.hash_policy,
                mirrors=self.mirrors or action.mirrors,
            )
        return found


NO_POLICIES = ClusterPolicies()
